"""Reading the output of a command, on threads: it is passed on as it comes, limited, and its beginning is kept."""

from __future__ import annotations

import select
import sys
import threading
import time
from contextlib import suppress
from typing import IO, Callable, Optional

from ..._common.redaction import RedactedStream
from ...exceptions import CancelledException

Emit = Callable[[str], None]

# Bytes of one read.
_CHUNK = 64 * 1024

# Seconds of silence after which the pipe of an ended command counts as held open by a background child.
_QUIET = 0.25

# Seconds, and bytes, that a background child may go on printing after the command's end. What the command itself has
# printed is less: a pipe holds 64 KiB, and 1 MiB if somebody has made it larger.
_OTHERS_TIME = 2.0
_OTHERS_SIZE = 2 * 1024 * 1024

# Seconds between two looks at a thread that has output to take and has not woken up yet.
_ABOUT_TO_READ = 0.02

# Characters of output that go into a result: as many as a client takes by default, 64 MiB, if each is four bytes.
MOST_COLLECTED = 16 * 1024 * 1024

# Characters that release 0.15 captures of each stream before it ends the command (Node's 1 MiB), and those that it
# passes on of a command that goes on printing: by then it has read one more piece of 16 KiB.
CAPTURE_LIMIT = 1024 * 1024
_MOST_PASSED_ON = CAPTURE_LIMIT + 16 * 1024


class Collected:
    """The beginning of an output, up to 16 Mi characters.

    Attributes:
        is_cut (bool): whether there was more.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = MOST_COLLECTED
        self.is_cut = False

    def add(self, text: str) -> None:
        """Take in more of it."""
        if self._room > 0:
            self._pieces.append(text[: self._room])
        self._room -= len(text)
        self.is_cut = self._room < 0

    @property
    def text(self) -> str:
        """The collected text."""
        return "".join(self._pieces)

    @property
    def is_blank(self) -> bool:
        """Whether the collected text is white space only."""
        return not any(map(str.strip, self._pieces))


class Tail:
    """The end of an output, up to ``limit`` characters. Any thread may add to it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.text = ""

    def add(self, text: str) -> None:
        """Take in more of it."""
        with self._lock:
            self.text = (self.text + text)[-self._limit :]


class Pump:
    """Reads a pipe on a thread of its own until the pipe's end, which may come long after the command's.

    Attributes:
        is_over_limit (bool): whether more came than the limit allows; from then on, nothing is passed on.
    """

    def __init__(
        self,
        pipe: IO[bytes],
        stream: RedactedStream,
        emit: Emit,
        limit: Optional[int],
        news: threading.Condition,
    ) -> None:
        self._pipe = pipe
        self._descriptor = pipe.fileno()
        self._stream = stream
        self._emit = emit
        self._limit = limit
        # Notified of what a waiting thread may wait for. Not a method of the one that waits: a pump may live on for
        # long, and would keep all that belongs to the request.
        self._news = news
        self.is_over_limit = False
        # Guards the stream and the count, and keeps the output in order.
        self._lock = threading.Lock()
        self._count = 0
        # Once set, output is read and thrown away.
        self._detached = False
        self._handed_on = 0  # bytes
        # When the command had ended, and the bytes handed on by then; from then on, a thread waits for this pump.
        self._end: Optional[tuple[float, int]] = None
        self._is_closed = False
        # When the thread last went to wait for output; None from before it takes some until it has handed it on.
        self._idle_since: Optional[float] = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="runtimeuse-output", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._pipe:
                for chunk in iter(self._read, b""):
                    self._hand_on(chunk)
                    self._idle_since = time.monotonic()
                    if self._end is not None:
                        self._tell()
        finally:
            self._is_closed = True
            self._tell()

    def _read(self) -> bytes:
        if _is_readable(self._descriptor, None):
            self._idle_since = None
        chunk: bytes = self._pipe.read1(_CHUNK)  # type: ignore[attr-defined]
        self._idle_since = None
        return chunk

    def _hand_on(self, chunk: bytes) -> None:
        with self._lock:
            if not self._detached:
                self._send(self._stream.feed(chunk))
        self._handed_on += len(chunk)

    def _send(self, text: str) -> None:
        room = _MOST_PASSED_ON - self._count
        self._count += len(text)
        is_over_limit = self._limit is not None and self._count > self._limit
        # A cancellation is for the thread that runs the command; this one goes on reading.
        with suppress(CancelledException):
            if text:
                self._emit(text[:room] if is_over_limit else text)
        if is_over_limit:
            self._detached = self.is_over_limit = True
            self._tell()

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def begin_end(self) -> None:
        """Tell of each silence from now on, as the command has ended."""
        self._end = (time.monotonic(), self._handed_on)

    def is_finished(self) -> bool:
        """Whether all output of the ended command was passed on."""
        return self._is_closed or self.is_over_limit or self.seconds_until_quiet() == 0 or self._is_of_others()

    def _is_of_others(self) -> bool:
        """Whether a background child goes on printing, and all that the command itself has printed is passed on."""
        assert self._end is not None
        ended_at, handed_on = self._end
        if self._handed_on - handed_on > _OTHERS_SIZE:
            return True
        # The pipe first, as below.
        has_read_all = not _is_readable(self._descriptor, 0) and self._idle_since is not None
        return has_read_all and time.monotonic() - ended_at > _OTHERS_TIME

    def seconds_until_quiet(self) -> Optional[float]:
        """Seconds after which the pipe counts as held open by others; None while the thread is busy."""
        # The pipe is checked first: for output already read from it, the thread has set ``_idle_since`` to None.
        is_waiting = not _is_readable(self._descriptor, 0)
        since = self._idle_since
        if since is None:
            return None
        left = max(0.0, since + _QUIET - time.monotonic())
        # If there is output in the pipe, the idle thread is about to read it.
        return left if is_waiting else max(left, _ABOUT_TO_READ)

    def detach(self) -> None:
        """Emit held output; from now on, output is read and discarded."""
        with self._lock:
            if not self._detached:
                self._detached = True
                self._send(self._stream.flush())

    def mute(self) -> None:
        """Discard held and further output; takes no lock."""
        self._detached = True


if sys.platform == "win32":

    def _is_readable(descriptor: int, milliseconds: Optional[int]) -> bool:
        """False: of a pipe, Windows does not tell."""
        return False

else:

    def _is_readable(descriptor: int, milliseconds: Optional[int]) -> bool:
        """Whether there is output, or its end, in so many milliseconds; None waits for it."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(milliseconds))
