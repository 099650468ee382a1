"""What of a traceback IPython is given."""

from __future__ import annotations

import traceback

import pytest

from runtimeuse_sync import Client, ConnectionFailedError
from runtimeuse_sync.notebook._tracebacks import outside


def names(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(outside(error.__traceback__))]


def test_frames_of_this_library_are_left_out() -> None:
    def ask() -> None:
        Client("ws://127.0.0.1:1", connect_timeout=5).query("hi", system_prompt="")

    with pytest.raises(ConnectionFailedError) as caught:
        ask()
    everything = len(traceback.extract_tb(caught.value.__traceback__))
    assert names(caught.value) == ["test_frames_of_this_library_are_left_out", "ask"]
    assert len(traceback.extract_tb(caught.value.__traceback__)) == everything > 2  # the exception has all of it


def test_without_a_frame_of_the_users_there_is_none() -> None:
    assert outside(None) is None
