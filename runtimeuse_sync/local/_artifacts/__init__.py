"""Artifacts: directories are watched, and their finished files offered for upload."""
