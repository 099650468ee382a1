"""How long a call waits at its end and between two looks, in seconds. All of a call's waits that nobody sets."""

from __future__ import annotations

# For the runtime's answer to a cancel_message: it may have commands to end, which get a second to do so.
CANCEL_WAIT = 5.0
# The same where the caller has run out of patience: a timeout, an exception, a settled matter. With the wait for
# the Close handshake it stays under the second that is promised.
IMPATIENT_CANCEL_WAIT = 0.7

# For the peer's half of the Close handshake.
CLOSE_WAIT = 1.0
IMPATIENT_CLOSE_WAIT = 0.1

# Between two looks at an Event. Reading one is cheap; a function may be a database query, and has its own interval.
EVENT_INTERVAL = 0.05
# Between two wake-ups in which a waiting thread can notice what no message tells of: an exception that another
# thread has set in it.
PULSE_INTERVAL = 0.4
# Between two looks of a call on a connection that cannot be woken, and of Windows' main thread, where Ctrl-C
# does not end a wait.
POLL_INTERVAL = 0.25

# After a standstill of the process (a suspended laptop, SIGSTOP), for what arrived meanwhile to be read before a
# limit is judged; never longer than the standstill was.
CATCH_UP = 1.0
