"""The WebSocket server: connections, the session on each, the request in each."""
