"""Helpers that all parts of the package use: validation, deadlines, redaction, wake-ups."""
