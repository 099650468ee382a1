"""What a run took, in the words of either agent, and what is made of words that neither says."""

from __future__ import annotations

import pickle
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimeuse_sync import QueryResult, ResultMessageInterface, TextResult, Usage

CLAUDE = {
    "total_cost_usd": 0.25,
    "usage": {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 40,
        "service_tier": "standard",
    },
    "num_turns": 3,
    "duration_ms": 1500,
    "duration_api_ms": 1200,
    "session_id": "s-1",
}
OPENAI = {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}}
OF_CLAUDE = Usage(
    input_tokens=10,
    output_tokens=20,
    cache_read_tokens=30,
    cache_write_tokens=40,
    cost_usd=0.25,
    turns=3,
    duration_seconds=1.5,
    session_id="s-1",
)


@pytest.mark.parametrize(
    ("metadata", "usage"),
    [
        (CLAUDE, OF_CLAUDE),
        (OPENAI, Usage(input_tokens=1, output_tokens=2)),
        ({"usage": {"input_tokens": 0}, "total_cost_usd": 0}, Usage(input_tokens=0, cost_usd=0)),
        ({}, Usage()),
        (None, Usage()),
    ],
)
def test_what_a_result_tells(metadata: Any, usage: Usage) -> None:
    assert ResultMessageInterface(data=TextResult(text="t"), metadata=metadata).usage == usage
    assert QueryResult(data=TextResult(text="t"), metadata=metadata).usage == usage


wrong = st.sampled_from([None, True, "5", -1, [], {}, float("inf"), float("nan"), 10**400, 0.5, b"x"])


@given(st.dictionaries(st.sampled_from([*CLAUDE]), wrong | st.dictionaries(st.sampled_from([*CLAUDE["usage"]]), wrong)))
def test_a_value_of_the_wrong_type_is_one_that_was_not_told(metadata: dict[str, Any]) -> None:
    usage = Usage.of(metadata)
    for name, value in attrs.asdict(usage).items():
        kinds: tuple[type, ...] = (int, float) if name in ("cost_usd", "duration_seconds") else (int,)
        assert value is None or name == "session_id" or (type(value) in kinds and value >= 0)
    assert usage.session_id is None or type(usage.session_id) is str


def test_what_is_no_mapping_tells_nothing() -> None:
    assert Usage.of([1]) == Usage.of("usage") == Usage()  # type: ignore[arg-type]


amounts = st.none() | st.integers(0, 10**9)
usages = st.builds(
    Usage,
    input_tokens=amounts,
    output_tokens=amounts,
    cache_read_tokens=amounts,
    cache_write_tokens=amounts,
    cost_usd=st.none() | st.integers(0, 1000).map(float),
    turns=amounts,
    duration_seconds=st.none() | st.integers(0, 1000).map(float),
    session_id=st.none() | st.sampled_from("ab"),
)


@given(usages, usages, usages)
def test_usages_add_up(one: Usage, two: Usage, three: Usage) -> None:
    assert (one + two) + three == one + (two + three) == sum([one, two, three])
    assert one + Usage() == Usage() + one == one


def test_a_sum_is_of_what_was_told() -> None:
    assert OF_CLAUDE + Usage(input_tokens=1, session_id="s-2") == attrs.evolve(
        OF_CLAUDE, input_tokens=11, session_id="s-2"
    )
    assert (OF_CLAUDE + OF_CLAUDE).cost_usd == 0.5


@pytest.mark.parametrize("other", [1, None, "x", {}])
def test_nothing_else_is_added(other: Any) -> None:
    with pytest.raises(TypeError):
        OF_CLAUDE + other
    with pytest.raises(TypeError):
        other + OF_CLAUDE


def test_a_usage_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(OF_CLAUDE)) == OF_CLAUDE
    assert len({OF_CLAUDE, Usage.of(CLAUDE)}) == 1
    assert Usage.from_dict(OF_CLAUDE.to_dict()) == OF_CLAUDE
