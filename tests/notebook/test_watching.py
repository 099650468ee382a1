"""A run that is watched, where there is no notebook, and what a notebook would show. One in a kernel: tests/hosts."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    CancelledException,
    Client,
    CommandOutputMessageInterface,
    HeartbeatMessageInterface,
    RuntimeUseError,
)
from runtimeuse_sync.notebook import watch
from runtimeuse_sync.notebook._view import View
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation

from .test_html import Page

Start = Callable[..., ScriptedRuntime]


def said(words: str) -> AssistantMessageInterface:
    return AssistantMessageInterface(text_blocks=[words])


def printed(words: str) -> CommandOutputMessageInterface:
    return CommandOutputMessageInterface(stream="stdout", text=words, command="make")


def view_of(*messages: Any) -> View:
    view = View()
    for message in messages:
        view.take(message)
    return view


def test_without_a_notebook_words_and_output_are_printed(
    scripted_runtime: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = Reply(messages=[said("Reading\x1b[2J."), printed("1 passed\n"), said("Done.")], result="ok")
    client = Client(scripted_runtime(generation("0.15", reply)).url)
    assert watch(client.stream("Test it.", system_prompt="")).text == "ok"
    assert capsys.readouterr().out == "Reading.\n1 passed\nDone.\n"


def test_commands_are_watched_as_well(local_runtime: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(local_runtime(lambda invocation, sender: "").url)
    assert watch(client.stream_commands(["echo one", "exit 3"])).results[1].exit_code == 3
    assert capsys.readouterr().out == "one\n"


def test_what_iterating_raises_is_raised(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(generation("0.15", Reply(error="rate limited"))).url)
    with pytest.raises(AgentRuntimeError, match="rate limited"):
        watch(client.stream("hi", system_prompt=""))


def test_another_thread_may_cancel_it(scripted_runtime: Start) -> None:
    client = Client(scripted_runtime(generation("0.15", Reply(messages=[said("one")], hangs=True))).url)
    run = client.stream("hi", system_prompt="", on_assistant_message=lambda message: thread.start())
    thread = threading.Thread(target=run.cancel)
    with pytest.raises(CancelledException):
        watch(run)
    thread.join()


def test_a_run_under_way_has_its_tick(scripted_runtime: Start) -> None:
    with Client(scripted_runtime(generation("0.15", Reply(result="ok"))).url).stream("hi", system_prompt="") as run:
        with pytest.raises(RuntimeUseError, match="set its tick before"):
            run.tick = 1.0
        list(run)


class Display:
    """IPython's, of a notebook: what it was given, picture by picture."""

    def __init__(self, view: View, display_id: bool) -> None:
        assert display_id
        self.pictures = [repr(view)]
        Display.last = self

    last: Display

    def update(self, view: View) -> None:
        self.pictures.append(repr(view))


def ipython(**shell: Any) -> Any:
    shell_now = SimpleNamespace(**shell)
    return SimpleNamespace(get_ipython=lambda: shell_now, display=SimpleNamespace(display=Display))


def test_a_flood_of_messages_makes_few_pictures_and_the_last_one_shows_the_end(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", ipython(kernel=object()))
    monkeypatch.setattr("runtimeuse_sync.notebook._watching._PACE", 3600.0)
    reply = Reply(messages=[said(f"message {number}") for number in range(1000)], result="ok")
    watch(Client(scripted_runtime(generation("0.15", reply)).url).stream("hi", system_prompt=""))
    first, last = Display.last.pictures
    assert first.startswith("running, ")
    assert last.startswith("done, ")
    assert last.endswith("message 999")


def test_ipython_in_a_terminal_is_no_notebook(
    scripted_runtime: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", ipython())
    reply = Reply(messages=[said("Reading.")], result="ok")
    watch(Client(scripted_runtime(generation("0.15", reply)).url).stream("hi", system_prompt=""))
    assert capsys.readouterr().out == "Reading.\n"


def test_the_picture_has_the_last_messages_and_the_output_folded() -> None:
    words = "".join(chr(ord("a") + number) for number in range(9))
    view = view_of(
        HeartbeatMessageInterface(phase="agent", elapsed_ms=1), *map(said, words), printed("1\n2\n3 passed\n")
    )
    page = Page(view._repr_html_())
    assert page.words == "running, agent, 0 sefghioutput, 3 lines: 3 passed1\n2\n3 passed\n"
    assert "details" in page.tags
    assert repr(view).splitlines() == ["running, agent, 0 s", *"efghi", "output, 3 lines: 3 passed"]
    view.end("failed", "AgentRuntimeError: no")
    assert repr(view).splitlines()[0] == "failed, 0 s"
    assert repr(view).splitlines()[-1] == "AgentRuntimeError: no"


def test_the_picture_shows_what_came_as_text() -> None:
    view = view_of(said("<script>\x1b[2J"), printed("<img onerror=x>\x9b"))
    page = Page(view._repr_html_())
    assert page.tags <= {"div", "b", "pre", "details", "summary"}
    assert page.attributes <= {"style"}
    assert "\x1b" not in repr(view)


def test_the_picture_keeps_the_end_of_the_output() -> None:
    view = view_of(*[printed("x" * 999 + "\n")] * 1000)
    assert "output, 1000 lines" in repr(view)
    assert len(view._repr_html_()) < 25_000
