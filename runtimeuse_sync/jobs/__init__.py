"""Runs in the background, and many at once: what ``Client.submit`` and ``Client.map`` do.

From the outside in:

| module | its one job |
|---|---|
| ``_mapping`` | a map: what may begin, what has ended, when to stop |
| ``_how`` | how a map is to go about it |
| ``_runtimes`` | the runtimes of a map, and which of them are set aside |
| ``_crew``, ``_order`` | its threads; in which order its outcomes are yielded |
| ``_job`` | ``Job``: one prompt in the background, as a ``concurrent.futures.Future`` |
| ``_work`` | a run on whichever thread, to its end |
| ``_asks`` | what is asked with each prompt |
| ``_outcome``, ``_budget`` | what a map tells of a prompt, and of all so far; what may be used |
"""

from __future__ import annotations

from ._asks import Asks
from ._budget import Budget
from ._how import How
from ._job import Job, JobStatus, begin, end
from ._mapping import outcomes
from ._outcome import Outcome, Progress
from ._work import Work

__all__ = ["Asks", "Budget", "How", "Job", "JobStatus", "Outcome", "Progress", "Work", "begin", "end", "outcomes"]
