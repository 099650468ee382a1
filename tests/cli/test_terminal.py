"""What a person sees: live progress on a real terminal, and nothing of it left behind."""

from __future__ import annotations

import io
import re
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import ResultMessageInterface, TextResult
from runtimeuse_sync.cli import _terminal
from runtimeuse_sync.cli._reports import TextReport
from runtimeuse_sync.cli._screen import Screen, harmless
from runtimeuse_sync.cli._screens import open_screen
from runtimeuse_sync.local import LocalRuntime

from .conftest import Terminal

Open = Callable[..., Terminal]
Local = Callable[..., LocalRuntime]

COLOUR = re.compile(r"\x1b\[(?:\d+;)*[39][0-7]m")
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def test_progress_then_the_result(terminal: Open, local_runtime: Local) -> None:
    go_on = threading.Event()

    def handler(invocation: Any, sender: Any) -> dict[str, Any]:
        sender.assistant("Counting.\nAlmost \x1b[2Jthere.")
        go_on.wait(20)
        return {"files": 3}

    screen = terminal("invoke", local_runtime(handler, heartbeat_interval=0.2).url, "x")
    shown = screen.read_until(" · agent · Almost there.")
    assert re.search(r"0:\d\d · agent", shown)
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
    assert " · agent · Reading shopping.txt." in screen.shown
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
        assert screen.tick() is False
        assert tty.getvalue() == "unfinished"
        screen.data("\n", tty)
        screen.tick()
    assert "waiting for the runtime" in tty.getvalue()


def test_a_result_cannot_order_a_terminal_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Tty())
    TextReport(Screen(sys.stderr)).result(ResultMessageInterface(data=TextResult(text="a\x1b[2Jb")))
    assert sys.stdout.getvalue() == "ab\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b", "ab"),
        ("\x1bPdevice\x1b\\c\x1b(Bd", "cd"),
        ("over\rwritten\x08\x07", "overwritten"),
        ("\x9b31mc1", "31mc1"),
        ("ä€😀", "ä€😀"),
    ],
)
def test_what_a_terminal_would_obey_is_left_out(text: str, shown: str) -> None:
    assert harmless(text) == shown
