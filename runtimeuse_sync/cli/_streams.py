"""Repair of the standard streams: writes are complete even on a non-blocking, closed or non-UTF-8 stream."""

from __future__ import annotations

import io
import os
import select
import sys
import time
from contextlib import suppress
from typing import Any, Optional

# Seconds that an interrupted command still waits for its readers: enough for a last line on a machine that is busy, and
# not so much that Ctrl-C seems to do nothing where nobody reads.
_LAST_WORDS = 1.0


class _PatientWriter(io.BufferedWriter):
    """Writes everything to a descriptor, though it may be non-blocking.

    Another process that shares the pipe or the terminal can make it so at any time, and Python's own streams lose what
    it does not take at once. What has been written is counted in C: a signal handler that raises in between makes
    nothing be written twice.

    Attributes:
        deadline (float or None): when to stop waiting for the reader (``time.monotonic()``); what it has not taken
            by then is thrown away. Default None: never.
    """

    deadline: Optional[float] = None

    def __init__(self, descriptor: int) -> None:
        # Bytes of one write: as many as never block when select() reports the descriptor writable.
        super().__init__(io.FileIO(descriptor, "w", closefd=False), select.PIPE_BUF)

    def write(self, data: Any) -> int:
        """Write all of ``data``; returns its length."""
        done = 0
        while done < len(data):
            done += self._write_some(memoryview(data)[done:])
        return done

    def _write_some(self, data: memoryview) -> int:
        if self.deadline is not None:
            self._wait()
            data = data[: select.PIPE_BUF]
        try:
            return super().write(data)
        except BlockingIOError as error:
            self._wait()
            return error.characters_written

    def flush(self) -> None:
        """Write what is in the buffer."""
        if self.deadline is not None:
            self._wait()
        while True:
            try:
                return super().flush()
            except BlockingIOError:
                self._wait()

    def _wait(self) -> None:
        """Until something can be written; once the deadline has passed, everything can, to nowhere."""
        left = None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
        if not select.select([], [self], [], left)[1]:
            _point_to_nowhere(self.fileno())


def mend_streams() -> None:
    """Replace a closed stream by one that discards all; make an open one write all, "?" for what it cannot encode."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, _mended(getattr(sys, name)))


def _mended(stream: Any) -> Any:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    stream.reconfigure(errors="replace")
    if os.name == "nt" or not _is_of_descriptor(stream):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        _PatientWriter(stream.fileno()),
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
    )


def _is_of_descriptor(stream: Any) -> bool:
    """Whether ``stream`` writes to a descriptor. What replaces a standard stream in a test does not."""
    return isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO)


def stop_waiting_for_readers() -> None:
    """From now on, wait one second in all for readers of what is still to be written."""
    for stream in (sys.stdout, sys.stderr):
        writer = getattr(stream, "buffer", None)
        if isinstance(writer, _PatientWriter) and writer.deadline is None:
            writer.deadline = time.monotonic() + _LAST_WORDS


def silence_closed_pipes() -> None:
    """Python flushes its streams at its end, and would complain of a pipe that is closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                _point_to_nowhere(stream.fileno())


def _point_to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
