"""JSON for standard output."""

from __future__ import annotations

import json
import re
from typing import Any

# A string, which is left alone; or a word that Python writes for a number, and that JSON does not know.
_STRING_OR_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?Infinity|NaN')


def to_json(value: Any, **options: Any) -> str:
    """``value`` as JSON, with the ``options`` of ``json.dumps``.

    A number too large for a float, such as a runtime's 1e999, becomes a string, as in ``"Infinity"``: JSON has no word
    for it, and null would hide that there was something.

    >>> to_json([float("inf"), "NaN", {"x": float("nan")}])
    '["Infinity", "NaN", {"x": "NaN"}]'
    """
    text = json.dumps(value, **options)
    if "Infinity" in text or "NaN" in text:
        return _STRING_OR_NUMBER.sub(lambda found: found[0] if found[0][0] == '"' else f'"{found[0]}"', text)
    return text
