"""Artifacts: which files are ready, and what is said about them."""
