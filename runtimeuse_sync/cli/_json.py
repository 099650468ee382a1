"""JSON for standard output."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any, **options: Any) -> str:
    """``value`` as JSON, with the ``options`` of ``json.dumps``.

    A number too large for a float, such as a runtime's 1e999, becomes a string, as in ``"Infinity"``: JSON has no word
    for it, and null would hide that there was something.

    >>> to_json([float("inf"), "NaN", {"x": float("nan")}])
    '["Infinity", "NaN", {"x": "NaN"}]'
    """
    try:
        return json.dumps(value, allow_nan=False, **options)
    except ValueError:
        return json.dumps(json.loads(json.dumps(value), parse_constant=str), **options)
