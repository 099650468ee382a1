"""Files that travel: downloads, uploads, and how they land."""
