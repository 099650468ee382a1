"""The lengths of waits of jobs and maps."""

from __future__ import annotations

import os
from typing import Optional

# Seconds. On Windows, Ctrl-C does not end a wait of the main thread; elsewhere, nothing need wake up before its time.
LONGEST_STEP = 0.25 if os.name == "nt" else None

# Seconds to wait for cancelled runs: the runtime has five to confirm, and one to close.
END_WAIT = 7.0
# The same while an exception is being raised.
IMPATIENT_END_WAIT = 1.0


def step(seconds: Optional[float]) -> Optional[float]:
    """``seconds`` (None: for ever), but not longer than a thread may wait in one go.

    >>> step(0.1)
    0.1
    """
    if LONGEST_STEP is None or seconds is None:
        return seconds if LONGEST_STEP is None else LONGEST_STEP
    return min(seconds, LONGEST_STEP)
