"""The demo page, its server and the Space."""
