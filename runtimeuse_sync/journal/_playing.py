"""A recorded call as a sequence of timed steps, each a message or the end, to be played to a client."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Optional

import attrs

from .. import AgentRuntimeError, ConnectionLostError, ProtocolError, RuntimeUseError, decode_message
from ._entries import Entry
from ._faults import Fault
from ._generations import Said, as_generation
from ._runs import RecordedRun

HERE_IT_ENDS = "the recording ends here"


@attrs.frozen
class Step:
    """A message; or, last, the error that the connection ends with. ``at``: seconds since the request was sent."""

    at: float
    what: Any


def steps(run: RecordedRun, minor: Optional[int], fault: Optional[Fault]) -> Iterator[Step]:
    """All that happens to a call that plays ``run``. With a ``fault`` it goes as far as that."""
    began = last = 0.0
    number = 0
    for said in _said(run, minor):
        began = began or _start_of(run)
        last = said.entry.clock - began
        if fault is not None and number >= fault.after:
            break
        yield Step(last, _message(said))
        number += 1
    if fault is None or number < fault.after:
        yield Step(max(last, run.duration), _end_of(run))
    elif fault.error is None:
        yield Step(math.inf, None)
    else:
        yield Step(last, fault.error)


def _start_of(run: RecordedRun) -> float:
    """The time when the request was sent, on the recording's clock."""
    early = [entry for entry, _ in zip(run.entries(), range(2))]
    return early[-1].clock if early[-1].event == "connected" else early[0].clock


def _said(run: RecordedRun, minor: Optional[int]) -> Iterable[Said]:
    said = (Said(entry, entry.wire) for entry in _before_cancelling(run.entries()) if entry.event == "received")
    return said if minor is None else as_generation(said, minor, run.request)


def _before_cancelling(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The entries before a cancellation: the runtime's answer to it is played only to a call that cancels, too."""
    for entry in entries:
        if entry.event == "sent" and entry.wire.get("message_type") == "cancel_message":
            return
        yield entry


def _message(said: Said) -> Any:
    try:
        return decode_message(json.dumps(said.fields).encode())
    except (ProtocolError, RecursionError) as error:
        raise said.entry.fault(f"not a message: {error}") from None


def _end_of(run: RecordedRun) -> RuntimeUseError:
    """The error with which the connection ends for a call that goes on after the last message."""
    if run.result is not None or isinstance(run.error, AgentRuntimeError):
        return ConnectionLostError(code=1005, reason=HERE_IT_ENDS)
    if run.error is None or type(run.error) is RuntimeUseError:
        return ConnectionLostError(code=1006, reason=HERE_IT_ENDS)
    return run.error
