"""The connection thread and its side of a connection: one socket, from the host look-up to the Close frame."""
