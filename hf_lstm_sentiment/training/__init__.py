"""A preset and reviews in, a run directory out."""
