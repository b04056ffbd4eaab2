"""A finished run becomes a repository."""
