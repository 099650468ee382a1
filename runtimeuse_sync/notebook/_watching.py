"""``watch``: shows a run live in a notebook cell."""

from __future__ import annotations

import sys
import time
from typing import Any, Optional, Protocol, TypeVar

from .. import (
    AgentRuntimeMessageInterface,
    AssistantMessageInterface,
    CancelledException,
    CommandOutputMessageInterface,
    Run,
    RuntimeUseError,
)
from ._html import clean
from ._view import View

ResultT = TypeVar("ResultT")

# Seconds from one picture to the next: more of them nobody sees, and each is sent to the browser.
_PACE = 0.2
# Seconds of silence after which the picture is renewed: what came last is in it, and the seconds go on.
_TICK = 0.5


def watch(run: Run[ResultT]) -> ResultT:
    """Run it to its end, and show in the cell how it goes: one display, which is renewed in its place.

    The display has the state, the runtime's phase, the seconds, the last five messages, and the output of commands,
    folded. An interrupt (the stop button) cancels the run. Elsewhere than in a notebook, the agent's words and the
    output are printed as they come.

    Args:
        run (Run): what ``stream()`` or ``stream_commands()`` returned; not entered. Callbacks are called as ever.

    Returns:
        its result.

    Raises:
        RuntimeUseError: as iterating the run does. The display tells it too.

    >>> answer = watch(client.stream("hi", system_prompt="Be brief."))
    You said: hi
    >>> answer.text
    'hi'
    """
    run.tick = min(run.tick or _TICK, _TICK)
    view = View()
    screen = _screen(view)
    try:
        with run:
            for message in run:
                view.take(message)
                screen.show(view, message)
    except BaseException as error:
        view.end(*_ending(error))
        screen.show(view)
        raise
    view.end("done")
    screen.show(view)
    return run.result


def _ending(error: BaseException) -> tuple[str, str]:
    """The end of a run in a word, and the text of this library's errors. Other errors' texts may hold a secret."""
    if isinstance(error, (KeyboardInterrupt, CancelledException)):
        return "cancelled", ""
    words = str(error) if isinstance(error, RuntimeUseError) else ""
    return "failed", f"{type(error).__name__}: {words}" if words else type(error).__name__


class _Screen(Protocol):
    def show(self, view: View, news: Optional[AgentRuntimeMessageInterface] = None) -> None:
        """Show what has become of ``view`` by ``news``; without, by its end."""


class _Cell:
    """A display of a notebook."""

    def __init__(self, display: Any, view: View) -> None:
        self._handle = display(view, display_id=True)
        self._shown = time.monotonic()

    def show(self, view: View, news: Optional[AgentRuntimeMessageInterface] = None) -> None:
        now = time.monotonic()
        if news is None or now >= self._shown + _PACE:
            self._shown = now
            self._handle.update(view)


class _Lines:
    """Output as plain lines, where a display cannot be updated."""

    def show(self, view: View, news: Optional[AgentRuntimeMessageInterface] = None) -> None:
        if isinstance(news, AssistantMessageInterface):
            self._write("".join(f"{words}\n" for words in news.text_blocks))
        elif isinstance(news, CommandOutputMessageInterface):
            self._write(news.text)

    def _write(self, words: str) -> None:
        sys.stdout.write(clean(words))
        sys.stdout.flush()


def _screen(view: View) -> _Screen:
    """The cell's, if there is a kernel. IPython in a terminal would print each picture below the last."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    return _Cell(ipython.display.display, view) if hasattr(shell, "kernel") else _Lines()
