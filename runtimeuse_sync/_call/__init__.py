"""The caller's thread: the life of one call."""
