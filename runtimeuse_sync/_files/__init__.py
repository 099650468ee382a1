"""Helpers of ``commands`` and ``files``: scripts that run in the sandbox, and archives sent there and back."""
