"""Texts in; labels, files, explanations and exported models out."""
