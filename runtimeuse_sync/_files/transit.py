"""Bytes as ``data:`` URLs: the way into a sandbox that needs no server."""

from __future__ import annotations

import base64

# Bytes of one piece. Runtimes take messages of 100 MiB, gateways before them often less; and one piece is what is held
# in memory, three times over.
PIECE = 6 * 2**20

# The runtime calls a file what stands behind the last slash of its URL. These are digits of base64 as well, so that
# they end the file as six bytes too many, which are cut off there.
NAME = "transit"


def data_url(data: bytes) -> str:
    """A URL that the runtime downloads to a file ``NAME``, which begins with ``data`` and has a few bytes behind it.

    >>> data_url(b"abc")
    'data:application/octet-stream;base64,YWJj/transit'
    """
    # Padding would end the base64 too early.
    padded = data + bytes(-len(data) % 3)
    return f"data:application/octet-stream;base64,{base64.b64encode(padded).decode()}/{NAME}"
