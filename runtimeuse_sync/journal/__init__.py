"""A journal of calls: recorded as JSON lines, read again, followed while it grows, and played back.

>>> from runtimeuse_sync import Client
>>> from runtimeuse_sync.journal import Replay, load, record
>>> with record(client, "run.jsonl") as recorded:
...     recorded.query("hello").output
'hello'
>>> load("run.jsonl")[0].outcome
'result'
>>> Client(transport=Replay("run.jsonl")).query("hello").output
'hello'

====================================  ============================================================
``_recording``                        ``record``: lines, written at once
``_secrets``, ``_json``, ``_errors``  what is written, and what never
``_entries``                          ``entries``: lines, read
``_runs``                             ``load``: calls, read
``_following``, ``_locking``          ``follow``: while it is written, as long as somebody does
``_replay``, ``_playing``             ``Replay``: a transport that plays calls, step by step
``_comparison``                       whether a request is the recorded one
``_exceptions``                       ``JournalError``, ``ReplayError``
``_generations``, ``_faults``         as another release would have said it; what goes wrong
====================================  ============================================================
"""

from ._entries import Entry, entries
from ._exceptions import JournalError, ReplayError
from ._faults import Fault
from ._following import follow
from ._recording import record
from ._replay import Replay
from ._runs import RecordedRun, load

__all__ = [
    "Entry",
    "Fault",
    "JournalError",
    "RecordedRun",
    "Replay",
    "ReplayError",
    "entries",
    "follow",
    "load",
    "record",
]
