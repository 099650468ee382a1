"""A connection, with the state that one call on it leaves for the next."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Callable, Optional

import attrs

from .._protocol.exchange import RESULTS
from ..exceptions import RuntimeUseError
from ..messages import ClientMessage
from ..options import OnArtifactUploadRequestCallback
from ..transports import Connection
from .waits import CATCH_UP


@attrs.define(eq=False, repr=False)
class Channel:
    """A connection, with the state that one call on it leaves for the next. Used only by the call that it is lent to.

    Attributes:
        connection: carries the messages.
        serves_one_call: whether the connection is closed after its first call.
        backlog: messages that were received and not yet processed.
        requests: the number of requests sent.
        may_follow: whether messages may follow the results so far: artifacts, output of post-agent commands.
        stale_cancel: whether the answer to a cancel_message may still come, although its call is over.
        on_artifact: answers artifact requests; a call without one leaves that of the call before.
        secrets: of all calls so far: a message about one call may come during the next, or at the session's end.
        last_result: the result of the last call that had one.
        unknown_types: message types that were logged as unknown.
    """

    connection: Connection
    serves_one_call: bool = False
    backlog: deque[Any] = attrs.field(factory=deque)
    requests: int = 0
    may_follow: bool = False
    stale_cancel: bool = False
    on_artifact: Optional[OnArtifactUploadRequestCallback] = None
    secrets: set[str] = attrs.field(factory=set)
    last_result: Any = None
    unknown_types: set[str] = attrs.field(factory=set)
    _process: int = attrs.field(factory=os.getpid)

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child: it has no connection thread, and must not use its parent's socket."""
        return self._process != os.getpid()

    def check_process(self) -> None:
        """Raise in a forked child."""
        if self.is_inherited:
            raise RuntimeUseError("this call belongs to the parent process; make one of its own in the child")

    def send_request(self, request: ClientMessage, *, closes: bool) -> None:
        """Send a request. With ``closes``, a connection for one call may close itself after the result."""
        self.requests += 1
        close_after = getattr(self.connection, "close_after", None)
        if close_after is not None and self.serves_one_call and closes:
            close_after(RESULTS)
        self.connection.send(request)

    @property
    def was_opened(self) -> bool:
        """Whether the connection was established; it may be lost by now."""
        opened: Optional[bool] = getattr(self.connection, "was_opened", None)
        # Custom transports written before the rename have ``is_open`` only.
        return bool(getattr(self.connection, "is_open", False)) if opened is None else opened

    @property
    def wake(self) -> Optional[Callable[[], None]]:
        """A function that ends a ``receive`` in another thread; None if the connection has none."""
        return getattr(self.connection, "wake", None)

    def receive(self, timeout: float, *, limit: float) -> Sequence[Any]:
        """Return messages as soon as there are any; an empty batch after ``timeout`` seconds.

        An empty batch after ``limit`` seconds ends the call: a limit of it has passed. If the process was suspended
        meanwhile, messages may have arrived in time that the connection thread has not read yet, so wait for it.
        """
        began = time.monotonic()
        batch = self.connection.receive(timeout)
        elapsed = time.monotonic() - began
        late = elapsed - timeout
        if not batch and elapsed >= limit and late > 0:
            batch = self.connection.receive(min(late, CATCH_UP))
        return batch
