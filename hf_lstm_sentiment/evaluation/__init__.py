"""Predictions in; numbers, tables, plots and reports out."""
