"""What ``commands`` and ``files`` are made of: scripts that run in the sandbox, and archives there and back."""
