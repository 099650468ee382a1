"""How deep the brackets of a payload nest, counted before it is parsed.

Parsers of JSON, and nearly all that is done with what they return (``repr``, ``==``, copying, pickling), go one call
deeper for each level. What ends such a descent without this limit is the recursion limit or the thread's stack, and
the second kills the process: the user may have set both.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Union

# Levels. In the smallest stack that a thread can have, 32 KiB, the standard library's parser crashes at 208 and orjson
# at 280. People's data is less than 20 deep; other parsers' limits are 64 (.NET), 100 (Ruby) and 512 (PHP).
MAX_DEPTH = 100

_TABLE = bytes.maketrans(b"[{]}", b"(())")
_NOT_NEEDED = bytes(set(range(256)) - set(b'[]{}"'))
_STEP = [0] * 256
_STEP[ord("(")], _STEP[ord(")")] = 1, -1


def is_too_deep(payload: Union[bytes, bytearray]) -> bool:
    """Whether a parser would go deeper than ``MAX_DEPTH``. Right for JSON, and for text up to where it is none.

    >>> is_too_deep(b"[" * 101), is_too_deep(b"[" * 100), is_too_deep(b'"' + b"[" * 101 + b'"')
    (True, False, False)
    """
    return (
        len(payload) > MAX_DEPTH
        and _has_many_brackets(payload)
        and _is_deeper_than(MAX_DEPTH, _outside_strings(payload).translate(_TABLE))
    )


def _has_many_brackets(payload: Union[bytes, bytearray]) -> bool:
    # Most messages have a bracket or two behind the first: to look for each is faster than to count them all, and one
    # function is faster than two.
    find, left = payload.find, MAX_DEPTH - 1
    for bracket in (b"{", b"["):
        at = find(bracket, 1)
        while at >= 0:
            if not left:
                return _is_deeper_than(MAX_DEPTH, _outside_strings(payload).translate(_TABLE))
            left -= 1
            at = find(bracket, at + 1)
    return False


def _outside_strings(payload: Union[bytes, bytearray]) -> bytes:
    """The brackets that are no part of a string."""
    if b"\\" in payload:
        payload = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = payload.translate(None, _NOT_NEEDED)
    # Two quotes beside each other end a string and begin the next, or the reverse: what follows is where it was.
    return b"".join(kept.replace(b'""', b"").split(b'"')[::2])


def _is_deeper_than(depth: int, brackets: bytes) -> bool:
    """Whether ``(`` and ``)`` nest deeper. Takes away the innermost pairs while that leaves less than half."""
    before = len(brackets)
    while depth and len(brackets) > depth:
        brackets = brackets.replace(b"()", b"")
        depth -= 1
        if len(brackets) > before // 2:
            break
        before = len(brackets)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > depth
