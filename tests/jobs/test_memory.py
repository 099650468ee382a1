"""Ten thousand prompts in the memory of a thousand. Over a transport without sockets: what is looked at is above it."""

from __future__ import annotations

import io
import itertools
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import Client, InvocationMessage, ResultMessageInterface, TextResult
from runtimeuse_sync.cli._answers import open_answers
from runtimeuse_sync.cli._prompts import open_prompts
from runtimeuse_sync.cli._screen import Screen
from runtimeuse_sync.cli.batch import _Batch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIB = 2**20
ANSWER = "x" * 10_000


class Answering:
    """A connection whose runtime answers at once, at some length."""

    was_opened = True

    def open(self, timeout: Any) -> None:
        self.inbox: list[Any] = []

    def send(self, message: object) -> None:
        if isinstance(message, InvocationMessage):
            self.inbox.append(ResultMessageInterface(data=TextResult(text=message.user_prompt + ANSWER)))

    def receive(self, timeout: float) -> list[Any]:
        batch, self.inbox = self.inbox, []
        return batch

    def wake(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass


class Transport:
    connection = staticmethod(Answering)


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """The most bytes that were held since it was asked before."""

    def peak() -> int:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        return most

    tracemalloc.start()
    yield peak
    tracemalloc.stop()


@pytest.mark.parametrize("ordered", [False, True])
def test_memory_is_flat_over_ten_thousand_prompts(traced: Callable[[], int], ordered: bool) -> None:
    prompts = (f"{number}" for number in range(10_000))
    outcomes = Client(transport=Transport()).map(prompts, at_once=16, ordered=ordered)
    assert len([outcome.index for outcome in itertools.islice(outcomes, 1_000)]) == 1_000
    before = traced()
    assert sum(outcome.error is None for outcome in outcomes) == 9_000
    assert traced() - before < 8 * MIB


def test_a_batch_of_ten_thousand_prompts(traced: Callable[[], int], tmp_path: Path) -> None:
    peaks = []
    for count in (1_000, 10_000):
        with open(tmp_path / f"{count}.jsonl", "w") as file:
            file.writelines(json.dumps({"id": number, "prompt": "p" * 1_000}) + "\n" for number in range(count))
        answers_file = str(tmp_path / f"{count}-answers.jsonl")
        with open_prompts(file.name) as prompts, open_answers(answers_file) as answers:
            batch = _Batch(prompts, answers, None, Screen(io.StringIO()))
            batch.run(Client(transport=Transport()), {"at_once": 16})
        assert batch.is_done
        with open_prompts(file.name) as prompts, open_answers(answers_file) as answers:
            assert len(answers.done) == count
            assert len(_Batch(prompts, answers, None, Screen(io.StringIO()))) == 0
        peaks.append(traced())
    assert peaks[1] - peaks[0] < 8 * MIB
