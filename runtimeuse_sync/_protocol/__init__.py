"""The protocol without thread and I/O: frames, messages, the state of a request."""
