"""A limit for the nesting depth of JSON, checked before it is parsed.

JSON parsers, and most functions on their results (``repr``, ``==``, copying, pickling), recurse once for each level.
Without this limit, the recursion limit or the end of the thread's stack stops them, depending on the user's settings,
and the latter kills the process.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Union

# Levels. In the smallest stack that a thread can have, 32 KiB, the standard library's parser crashes at 208 and orjson
# at 280. Real data is less than 20 levels deep; other parsers' limits are 64 (.NET), 100 (Ruby) and 512 (PHP).
MAX_DEPTH = 100

_OPENING = b"{["
_OBJECT, _ARRAY = _OPENING
_TABLE = bytes.maketrans(b"[{]}", b"(())")
_NOT_NEEDED = bytes(set(range(256)) - set(b'[]{}"'))
_STEP = [0] * 256
_STEP[ord("(")], _STEP[ord(")")] = 1, -1


def is_too_deep(payload: Union[bytes, bytearray]) -> bool:
    """Whether ``payload`` nests deeper than ``MAX_DEPTH``. If it is not valid JSON, exact up to the first error.

    >>> is_too_deep(b"[" * 101), is_too_deep(b"[" * 100), is_too_deep(b'"' + b"[" * 101 + b'"')
    (True, False, False)
    """
    return (
        len(payload) > MAX_DEPTH
        # Most messages open no bracket after their beginning, so they open too few.
        and (payload.rfind(_OBJECT) >= MAX_DEPTH or payload.rfind(_ARRAY) >= MAX_DEPTH)
        and occurrences(payload, _OPENING, MAX_DEPTH + 1) > MAX_DEPTH
        and _is_deeper_than(MAX_DEPTH, _outside_strings(payload).translate(_TABLE))
    )


def occurrences(payload: Union[bytes, bytearray], characters: bytes, most: int) -> int:
    """How often any of ``characters`` occurs, ``most`` at most.

    It searches for each, which is faster than ``count`` where they are rare: ten times in a result of 50 MiB.

    >>> occurrences(b"[[{}], []]", b"[{", 9), occurrences(b"[[{}], []]", b"[{", 2)
    (4, 2)
    """
    find, left = payload.find, most
    for character in characters:
        at = find(character)
        while at >= 0 and left:
            left -= 1
            at = find(character, at + 1)
    return most - left


def _outside_strings(payload: Union[bytes, bytearray]) -> bytes:
    """The brackets of ``payload`` that are outside of strings."""
    if b"\\" in payload:
        payload = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = payload.translate(None, _NOT_NEEDED)
    # Two adjacent quotes enter and leave a string, or the reverse, so removing both changes nothing for what follows.
    return b"".join(kept.replace(b'""', b"").split(b'"')[::2])


def _is_deeper_than(depth: int, brackets: bytes) -> bool:
    """Whether ``(`` and ``)`` nest deeper than ``depth``. For speed, removes innermost pairs while that halves them."""
    before = len(brackets)
    while depth and len(brackets) > depth:
        brackets = brackets.replace(b"()", b"")
        depth -= 1
        if len(brackets) > before // 2:
            break
        before = len(brackets)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > depth
