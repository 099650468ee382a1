"""One call, from its start to its end: the code that runs on the caller's thread."""
