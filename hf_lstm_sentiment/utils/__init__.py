"""Files, optional imports, processes and run directories; knows nothing of reviews or models."""
