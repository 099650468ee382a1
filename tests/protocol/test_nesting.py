"""How deep a peer's brackets nest: counted exactly, at little cost, whatever stands in the strings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runtimeuse_sync._protocol.nesting import MAX_DEPTH, _is_deeper_than, is_too_deep


def nested(depth: int) -> bytes:
    """Objects and arrays in turns, with brackets and quotes in their keys and values."""
    value: Any = '"]}\\'
    for level in range(depth):
        value = [value, "[" * 200, {}] if level % 2 else {'"[{\\"' * 9: value, "a": []}
    return json.dumps(value).encode()


@pytest.mark.parametrize("extra", [b"", b" " * 1000, b"\n"])
def test_the_limit_is_exact(extra: bytes) -> None:
    # The innermost level of ``nested`` holds an empty array of its own.
    assert not is_too_deep(nested(MAX_DEPTH - 1) + extra)
    assert is_too_deep(nested(MAX_DEPTH) + extra)
    assert is_too_deep(bytearray(nested(MAX_DEPTH)) + extra)


@pytest.mark.parametrize("opened", [b"[", b"{", b'{"a":', b'[{"\\\\":', b'["]",'])
def test_what_is_opened_and_never_closed_counts(opened: bytes) -> None:
    assert is_too_deep(opened * (MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]" * 10_000,
        b"[" + b"{}," * 10_000 + b"{}]",
        json.dumps(["[" * 10_000, {"{" * 1000: "\\" * 101 + '"' + "[" * 500}]).encode(),
        json.dumps([[[[[[{"a": ["b"]}] * 3] * 3] * 3] * 3] * 3]).encode(),
    ],
    ids=range(5),
)
def test_many_brackets_are_not_deep_ones(payload: bytes) -> None:
    assert not is_too_deep(payload)


def depth_of(text: str) -> int:
    """The plain way, a character at a time."""
    depth, deepest, in_string, escaped = 0, 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif in_string:
            escaped, in_string = character == "\\", character != '"'
        elif character == '"':
            in_string = True
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(character, 0)
            deepest = max(deepest, depth)
    return deepest


texts = st.text('[]{}"\\a,:', max_size=6)
trees = st.recursive(texts, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))


@given(trees, st.integers(0, 120))
@example("\\", MAX_DEPTH)
@example(["\\"], MAX_DEPTH)
def test_the_depth_is_that_of_a_plain_count(tree: Any, levels: int) -> None:
    text = "[" * levels + json.dumps(tree) + "]" * levels
    assert is_too_deep(text.encode()) is (depth_of(text) > MAX_DEPTH)


@given(st.integers(0, 12), st.text("()", max_size=40))
def test_innermost_pairs_are_taken_away_and_counted(depth: int, brackets: str) -> None:
    deepest = depth_of(brackets.replace("(", "[").replace(")", "]"))
    if brackets.count("(") == brackets.count(")") and all(
        brackets[:at].count("(") >= brackets[:at].count(")") for at in range(len(brackets))
    ):
        assert _is_deeper_than(depth, brackets.encode()) is (deepest > depth)


SIZE = 4 * 1024 * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [b"[],", b'{"":[]},', b'"[",', b'"\\\\",', b'[{"[":"]"}],', b"[" * 50 + b"]" * 50 + b",", b"[" * 99 + b"]" * 99],
    ids=range(7),
)
def test_time_and_memory_are_linear_in_what_came(piece: bytes) -> None:
    payload = b"[" + piece * (SIZE // len(piece)) + b"0]"
    tracemalloc.start()
    began = time.perf_counter()
    assert not is_too_deep(payload)
    took = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * SIZE  # less than what the parser makes of it
    assert took < 20  # some 0.3 s; what is quadratic takes hours


A_SMALL_STACK = """
import sys, threading
from runtimeuse_sync import ProtocolError
from runtimeuse_sync._protocol import codec
{setup}
sys.setrecursionlimit(10**8)
threading.stack_size(64 * 1024)
said = []
def read():
    for decode in (codec.decode_runtime_message, codec.decode_client_message):
        for deep in (b"[" * 10**6, b'{{"message_type":' * 10**6, b'{{"a":' * 5000 + b"1" + b"}}" * 5000):
            try:
                decode(deep)
            except ProtocolError as error:
                said.append(str(error))
codec.decode_runtime_message(b'{{"message_type": "x"}}')  # what it imports needs a stack of another size
thread = threading.Thread(target=read)
thread.start()
thread.join()
assert said == ["not acceptable as JSON: brackets nested too deep"] * 6, said
"""


@pytest.mark.parametrize("setup", ["", "codec._parse = codec._parse_strictly"], ids=["the parser found", "json"])
def test_no_recursion_limit_and_no_stack_lets_a_peer_crash_the_process(setup: str) -> None:
    script = A_SMALL_STACK.format(setup=setup)
    child = subprocess.run([sys.executable, "-c", script], env=os.environ, timeout=50, check=False)
    assert child.returncode == 0
