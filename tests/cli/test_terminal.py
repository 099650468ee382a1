"""What a person sees: live progress on a real terminal, and nothing of it left behind."""

from __future__ import annotations

import io
import re
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    AssistantMessageInterface,
    CommandOutputMessageInterface,
    ErrorMessageInterface,
    HeartbeatMessageInterface,
    InvocationMessage,
    ResultMessageInterface,
    TextResult,
)
from runtimeuse_sync._common.words import harmless
from runtimeuse_sync.cli import _terminal
from runtimeuse_sync.cli._reports import TextReport
from runtimeuse_sync.cli._screen import Screen
from runtimeuse_sync.cli._screens import open_screen
from runtimeuse_sync.local import LocalRuntime
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from .conftest import Terminal

Open = Callable[..., Terminal]
Local = Callable[..., LocalRuntime]
Scripted = Callable[..., ScriptedRuntime]

COLOUR = re.compile(r"\x1b\[(?:\d+;)*[39][0-7]m")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_progress_then_the_result(terminal: Open, local_runtime: Local) -> None:
    go_on = threading.Event()

    def handler(invocation: Any, sender: Any) -> dict[str, Any]:
        sender.assistant("Counting.\nAlmost \x1b[2Jthere.")
        go_on.wait(20)
        return {"files": 3}

    screen = terminal("invoke", local_runtime(handler, heartbeat_interval=0.2).url, "x")
    shown = screen.read_until("0:00 · agent")
    # What was said stands above, and need not be said again.
    assert shown.count("Almost there.") == 1
    assert "Counting.\r\nAlmost there.\r\n" in shown
    go_on.set()
    assert screen.wait() == 0
    assert screen.shown.endswith('{\r\n  "files": 3\r\n}\r\n' + SHOW_CURSOR)
    assert screen.shown.count(HIDE_CURSOR) >= 1
    assert "\x1b[2J" not in screen.shown
    assert COLOUR.search(screen.shown)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_without_colours(terminal: Open, local_runtime: Local, environment: dict[str, str]) -> None:
    runtime = local_runtime(lambda *_: "", settle_seconds=0.1)
    screen = terminal("exec", runtime.url, "--timeout", "0.6", "--", "sleep 1000", **environment)
    assert screen.wait() == 125
    assert "no result within the timeout of 0.6 s\r\n" in screen.shown
    assert not COLOUR.search(screen.shown)
    assert ("waiting for the runtime" in screen.shown) == ("TERM" not in environment)
    assert ("\x1b" in screen.shown) == ("TERM" not in environment)


def test_the_demo(terminal: Open) -> None:
    screen = terminal("demo")
    assert screen.wait() == 0
    assert re.search(r"0:\d\d · agent", screen.shown)
    assert screen.shown.count("Reading shopping.txt.") == 1
    assert "Every step has really happened" in screen.shown
    assert screen.shown.endswith(SHOW_CURSOR)


def test_remote_output_goes_by_untouched_and_the_progress_line_gives_way(
    terminal: Open, local_runtime: Local, tmp_path: Path
) -> None:
    wait = "until [ -e {}/{} ]; do sleep 0.02; done"
    line = "; ".join(
        [r"printf 'on\033[1me\n'", wait.format(tmp_path, 1), "printf two", wait.format(tmp_path, 2), "exit 3"]
    )
    screen = terminal("exec", local_runtime(lambda *_: "").url, "--", line)
    screen.read_until("on\x1b[1me\r\n")
    screen.read_until(" · command")
    (tmp_path / "1").touch()
    # Erased, and the cursor at the start of the line.
    assert re.search(r"\x1b\[2K[^\n·]*two$", screen.read_until("two"))
    (tmp_path / "2").touch()
    assert screen.wait() == 3
    assert screen.shown.endswith("two" + SHOW_CURSOR)


def test_ctrl_c(terminal: Open, local_runtime: Local) -> None:
    screen = terminal("exec", local_runtime(lambda *_: "").url, "--", "printf 'no line end'; sleep 1000")
    screen.read_until("no line end")
    screen.type("\x03")
    assert screen.wait() == 130
    assert re.search(r"no line end(\^C)?\r\n(\x1b\[\d*m)*runtimeuse-sync: interrupted(\x1b\[\d*m)*\r\n", screen.shown)
    assert screen.shown.endswith(SHOW_CURSOR)


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_progress_line_stays_away_from_a_line_that_is_not_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(_terminal, "_SILENCE", 0)
    tty = Tty()
    with open_screen(tty) as screen:
        screen.data("unfinished", tty)
        assert screen.tick is not None
        assert screen.tick() is False
        assert tty.getvalue() == "unfinished"
        screen.data("\n", tty)
        screen.tick()
    assert "waiting for the runtime" in tty.getvalue()


def test_a_result_cannot_order_a_terminal_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Tty())
    TextReport(Screen(sys.stderr)).result(ResultMessageInterface(data=TextResult(text="a\x1b[2Jb")))
    assert sys.stdout.getvalue() == "ab\n"  # type: ignore[attr-defined]


NASTY = "a\x1b[2Jb\x1b]0;title\x07c\x9bd\re\n"


@pytest.mark.parametrize("environment", [{}, {"TERM": "dumb"}], ids=["terminal", "dumb"])
def test_a_peer_cannot_order_a_terminal_about(
    terminal: Open, scripted_runtime: Scripted, environment: dict[str, str]
) -> None:
    told = threading.Event()

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage, timeout=20)
        peer.send(
            HeartbeatMessageInterface(phase=f"phase-{NASTY}", elapsed_ms=1),
            AssistantMessageInterface(text_blocks=[f"text-{NASTY}"]),
            CommandOutputMessageInterface(stream="stdout", text=f"output-{NASTY}", command=NASTY),
            {"message_type": f"type-{NASTY}"},
            HeartbeatMessageInterface(phase=f"phase-{NASTY}", elapsed_ms=1),
        )
        assert told.wait(20)
        peer.send(ErrorMessageInterface(error=f"error-{NASTY}", metadata={f"name-{NASTY}": f"value-{NASTY}"}))

    screen = terminal("invoke", scripted_runtime(script).url, "x", **environment)
    screen.read_until("skipping messages")
    if not environment:
        screen.read_until(" · phase-abcde")
    told.set()
    assert screen.wait() == 1
    for word in ("text", "output", "error", "name", "value"):
        assert f"{word}-abcde" in screen.shown
    assert not re.search(r"\x1b\[2J|\x1b\]|\x9b|d\re", screen.shown)


def test_the_names_of_files_cannot_either(monkeypatch: pytest.MonkeyPatch) -> None:
    tty = Tty()
    TextReport(Screen(tty)).artifact("/out/x", Path(f"/here/{NASTY}"))
    assert tty.getvalue() == "saved /here/abcde \n"


def test_a_pipe_gets_what_came() -> None:
    stream = io.StringIO()
    report = TextReport(Screen(stream))
    report.artifact("/out/x", Path(f"/here/{NASTY}"))
    report.error(AgentRuntimeError(NASTY))
    # An exception's own text is one harmless line, wherever it goes.
    assert stream.getvalue() == f"saved /here/{NASTY}\nruntimeuse-sync: {harmless(NASTY)}\n"


# --- the size of the terminal ---


@pytest.mark.parametrize("columns", [20, 40, 80])
@pytest.mark.parametrize("phase", ["agent", "漢字" * 50, "a long phase of many words " * 10])
def test_the_progress_line_leaves_room_for_what_ctrl_c_writes(
    monkeypatch: pytest.MonkeyPatch, columns: int, phase: str
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    with open_screen(Tty()) as screen:
        assert isinstance(screen, _terminal.Terminal)
        screen.phase = phase
        line = screen._line()
    assert line.cell_len <= columns - len("^C^C^C")
    assert re.match(r". 0:\d\d · .", line.plain)
    assert line.plain.endswith("agent" if phase == "agent" else "…") or columns == 20


def test_words_are_not_cut(terminal: Open, scripted_runtime: Scripted) -> None:
    text = "There are words in this line that would be cut in the middle at forty columns"
    reply = Reply(messages=[AssistantMessageInterface(text_blocks=[text])], error=text)
    screen = terminal("invoke", scripted_runtime(generation("0.15", reply)).url, "x", columns=40)
    assert screen.wait() == 1
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.shown).split("\r\n")
    assert " ".join(line.strip() for line in lines).strip() == f"{text} runtimeuse-sync: {text}"
    assert max(map(len, lines)) <= 40


def test_neither_are_those_about_wrong_arguments(terminal: Open) -> None:
    screen = terminal("invoke", "nonsense", "x", columns=40)
    assert screen.wait() == 2
    lines = screen.shown.split("\r\n")
    assert max(map(len, lines)) <= 40
    told = "Error: URL must begin with ws://, wss://, http:// or https://, as in 'ws://localhost:8080'"
    assert told in " ".join(lines)


def test_ctrl_c_erases_the_progress_line(terminal: Open, scripted_runtime: Scripted) -> None:
    screen = terminal("invoke", scripted_runtime(generation("0.15", Reply(hangs=True))).url, "x")
    screen.read_until(" · waiting for the runtime")
    screen.type("\x03")
    assert screen.wait() == 130
    behind = screen.shown.rpartition("waiting for the runtime")[2]
    assert "\x1b[2K" in behind.partition("runtimeuse-sync: interrupted")[0]


# --- nothing wakes up for nothing ---


def test_only_what_moves_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert open_screen(io.StringIO()).tick is None
    assert open_screen(Tty(), plain=True).tick is None
    assert open_screen(Tty()).tick is not None
