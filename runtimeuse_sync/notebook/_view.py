"""The displayed state of a run: its state, duration, last messages, and the end of its commands' output."""

from __future__ import annotations

import time
from collections import deque

from .. import AgentRuntimeMessageInterface, AssistantMessageInterface, CommandOutputMessageInterface
from .. import HeartbeatMessageInterface as Heartbeat
from . import _html

# Messages that are shown.
_MESSAGES = 5
# Characters of output that are kept; what came before is only counted.
_OUTPUT = 20_000


class View:
    """A run as it looks now. A notebook shows it as HTML, everything else as text.

    >>> view = View()
    >>> view.take(AssistantMessageInterface(text_blocks=["Reading."]))
    >>> view
    running, 0 s
    Reading.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._state = "running"
        self._phase = ""
        self._fault = ""
        self._said: deque[str] = deque(maxlen=_MESSAGES)
        self._output = ""
        self._lines = 0

    def take(self, message: AgentRuntimeMessageInterface) -> None:
        """Note what ``message`` tells."""
        if isinstance(message, AssistantMessageInterface):
            self._said.extend(filter(None, message.text_blocks))
        elif isinstance(message, CommandOutputMessageInterface):
            self._output = (self._output + message.text)[-_OUTPUT:]
            self._lines += message.text.count("\n")
        elif isinstance(message, Heartbeat):
            self._phase = message.phase

    def end(self, state: str, fault: str = "") -> None:
        """Note the end of the run."""
        self._state, self._fault, self._phase = state, fault, ""

    def _head(self) -> str:
        parts = (self._state, self._phase, f"{time.monotonic() - self._began:.0f} s")
        return ", ".join(filter(None, parts))

    def _folded_output(self) -> str:
        last = self._output.rstrip().rpartition("\n")[2][-80:]
        return f"output, {self._lines} lines: {last}"

    def _repr_html_(self) -> str:
        said = "".join(f'<div style="margin:.5em 0">{_html.text(words, font="inherit")}</div>' for words in self._said)
        block = f'<div style="max-height:30em;overflow:auto">{_html.text(self._output, folds=False)}</div>'
        output = _html.folded(self._folded_output(), block) if self._output else ""
        fault = _html.text(self._fault) if self._fault else ""
        return f"<div><b>{_html.escaped(self._head())}</b>{said}{output}{fault}</div>"

    def __repr__(self) -> str:
        output = [self._folded_output()] if self._output else []
        return _html.clean("\n".join(filter(None, [self._head(), *self._said, *output, self._fault])))
