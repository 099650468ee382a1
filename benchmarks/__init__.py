"""How fast the library is, beside the asyncio client and a bare socket: ``python -m benchmarks``."""
