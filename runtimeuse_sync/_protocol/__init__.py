"""The protocol, without threads and I/O: frames, messages, and the state of a request."""
