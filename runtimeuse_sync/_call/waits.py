"""The fixed waits of a call, in seconds: at its end, and between two checks. Users cannot set them."""

from __future__ import annotations

# For the runtime's answer to a cancel_message: it may have to end commands, which get a second for it.
CANCEL_WAIT = 5.0
# The same, if the caller is to continue soon: after a timeout or an exception, or when the outcome is known. Together
# with the wait for the Close handshake it is less than a second, as promised.
IMPATIENT_CANCEL_WAIT = 0.7

# For the peer's half of the Close handshake.
CLOSE_WAIT = 1.0
IMPATIENT_CLOSE_WAIT = 0.1

# Between two checks of an Event, which are cheap. An ``is_cancelled`` function may be slow, and has its own interval.
EVENT_INTERVAL = 0.05
# Between two wake-ups of a waiting thread, in which an exception that another thread has set in it is raised.
PULSE_INTERVAL = 0.4
# Between two checks by a call on a connection that cannot be woken, and by the main thread on Windows, where Ctrl-C
# does not end a wait.
POLL_INTERVAL = 0.25

# After the process was suspended (a closed laptop, SIGSTOP): for messages that arrived meanwhile to be read before a
# limit counts as exceeded. Never longer than the suspension was.
CATCH_UP = 1.0
