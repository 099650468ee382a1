"""``Session``: a connection that serves one request after another."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Optional, TypeVar

import attrs

from . import messages as m
from ._call.cancellation import Cancellation
from ._call.request_loop import LONGEST_WAIT, Driver, Line
from ._common.deadline import Deadline
from ._protocol.exchange import Exchange
from .calls import Calls
from .exceptions import CancelledException, RuntimeUseError
from .options import CallOptions, Logger, OnArtifactUploadRequestCallback
from .run import CLOSE_WAIT, IMPATIENT_CLOSE_WAIT, Run
from .transports import Transport

ResultT = TypeVar("ResultT")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionSettings:
    """What a session takes over from its client; seconds."""

    cancel_poll_interval: float
    drain_timeout: Optional[float]
    logger: Logger


class Registry:
    """What an ``abort()`` has to reach. It keeps nothing alive: what is forgotten can end."""

    def __init__(self) -> None:
        # Changed by one operation at a time, so unlocked: a lock could be held by another thread in a fork.
        self._references: set[weakref.ref[Any]] = set()

    def add(self, call: Any) -> None:
        """Note a call, or what a call asks whether it is cancelled."""
        self._references.add(weakref.ref(call, self._references.discard))

    def discard(self, call: Any) -> None:
        """Forget it again."""
        self._references.discard(weakref.ref(call))

    def alive(self) -> list[Any]:
        """All that is noted and still exists."""
        return [call for reference in list(self._references) if (call := reference()) is not None]


class Turn:
    """Whose turn it is on a session: one call at a time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # of the others, while they change
        self._freed = threading.Event()
        # Weak, so that a call which a signal kept from giving its turn back does not keep it.
        self._holder: Optional[weakref.ref[Driver]] = None
        self._thread: Optional[int] = None

    def take(self, driver: Driver) -> None:
        """Wait for the turn, no longer than the call may take."""
        while not self._try_to_take(driver):
            self._freed.wait(driver.pause())
            driver.check()

    def _try_to_take(self, driver: Driver) -> bool:
        with self._guard:
            if self._holder is not None and self._holder() is not None:
                self._check_thread()
                return False
            self._freed.clear()
            self._thread = threading.get_ident()
            self._holder = weakref.ref(driver)
            return True

    def _check_thread(self) -> None:
        if self._thread == threading.get_ident():
            raise RuntimeUseError(
                "this session is in the middle of a call of this very thread (a callback, or a stream that "
                "is still open), and serves one at a time; open another session"
            )

    def is_held_by(self, driver: Driver) -> bool:
        """Whether it is this call's turn."""
        return self._holder is not None and self._holder() is driver

    def give_back(self, driver: Driver) -> None:
        """Return the turn, if ``driver`` has it; from whichever thread."""
        with self._guard:
            if self.is_held_by(driver):
                self._holder = self._thread = None
                self._freed.set()


class Session(Calls):
    """A connection that serves one request after another (since runtime 0.11), from ``Client.session()``.

    ``invoke``, ``query``, ``execute_commands`` and ``stream`` are those of ``Client``. Calls from several
    threads take turns. Leaving the ``with`` block asks the runtime to upload what is left, if artifacts were
    asked for, and serves its requests with the last ``on_artifact_upload_request``. It raises
    ``AgentRuntimeError`` if the runtime reports an error meanwhile.

    A cancelled or failed request leaves the session usable, and nothing of it reaches the next. Only if the
    runtime does not confirm a cancellation in time is the connection given up.

    >>> with client.session() as session:
    ...     first = session.query("one", QueryOptions(system_prompt=""))
    ...     second = session.query("two", QueryOptions(system_prompt=""))
    >>> first.data.text, second.data.text
    ('one', 'two')
    """

    def __init__(self, transport: Transport, settings: SessionSettings, registry: Registry) -> None:
        self._transport = transport
        self._settings = settings
        self._registry = registry
        self._process = os.getpid()
        self._turn = Turn()
        self._calls = Registry()  # the cancellations of those in flight
        # All of these belong to whoever has the turn.
        self._line: Optional[Line] = None
        self._is_closed = False
        self._is_one_shot = False
        self._connect_timeout: Optional[float] = None
        self._drains = False
        self._on_artifact: Optional[OnArtifactUploadRequestCallback] = None
        self._last_result: Any = None
        self._stale_cancel = False

    @classmethod
    def for_one_call(cls, transport: Transport, settings: SessionSettings, registry: Registry) -> Session:
        """A session that its only run opens, drains and closes."""
        session = cls(transport, settings, registry)
        session._is_one_shot = True
        return session

    def limited_to(self, connect_timeout: float) -> Session:
        """This session, not yet entered, with fewer seconds to connect in.

        >>> client.session().limited_to(5.0)
        <Session: not entered>
        """
        self._connect_timeout = connect_timeout
        return self

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "not entered" if self._line is None else "open"
        return f"<Session: {state}>"

    # --- its life -----------------------------------------------------------------------------------

    def __enter__(self) -> Session:
        self._check_process()
        if self._line is not None or self._is_closed:
            raise RuntimeUseError("a session can be entered once; call client.session() again")
        cancellation = self.new_cancellation(CallOptions())
        self._calls.add(cancellation)
        try:
            self._connect(self._connect_timeout)
            self._wait_until_open(cancellation)
        except BaseException:
            self._close(IMPATIENT_CLOSE_WAIT)
            raise
        finally:
            self._calls.discard(cancellation)
        return self

    def _connect(self, timeout: Optional[float]) -> Line:
        self._registry.add(self)
        self._line = line = Line(self._transport.connection())
        line.connection.open(timeout)
        return line

    def _wait_until_open(self, cancellation: Cancellation) -> None:
        line = self._open_line()
        cancellation.on_request(line.connection.wake)
        while not line.connection.is_open:
            if cancellation.requested():
                raise CancelledException
            line.backlog.extend(line.connection.receive(LONGEST_WAIT))

    def __exit__(self, exc_type: object, error: Optional[BaseException], traceback: object) -> None:
        if self._process != os.getpid() or self._is_closed:
            return  # the socket is the parent's
        try:
            self.abort()  # calls that other threads are still in
            if error is None and self._drains:
                self._drain()
            self._close(CLOSE_WAIT)
        except BaseException:  # a signal's among them, which may land anywhere
            self._close(IMPATIENT_CLOSE_WAIT)
            raise

    def _drain(self) -> None:
        """Serve what the runtime still has of the requests so far."""
        options = CallOptions()
        exchange = Exchange(drains=True, has_artifacts=self._on_artifact is not None)
        cancellation = self.new_cancellation(options)
        driver = self._driver(exchange, cancellation, Deadline(None), options, object)
        self._turn.take(driver)
        self._calls.add(cancellation)
        try:
            driver.start_drain(self._open_line(), self._on_artifact, self._last_result)
            for _ in driver.deliveries():
                pass
        finally:
            self._calls.discard(cancellation)
            self._turn.give_back(driver)

    def _close(self, timeout: float) -> None:
        self._is_closed = True
        self._registry.discard(self)
        line = self._line
        if line is None:
            return
        line.connection.close(timeout)
        self._line = None

    def abort(self) -> None:
        """Cancel the calls in flight on this session, from any thread, at once; without any, do nothing.

        >>> client.session().abort()
        """
        if self._process == os.getpid():
            for cancellation in self._calls.alive():
                cancellation.request()

    # --- what a run needs of it (run.Host) ----------------------------------------------------------

    def _new_run(self, request: m.ClientMessage, result_cls: type[ResultT], options: CallOptions) -> Run[ResultT]:
        return Run(self, request, result_cls, options)

    def new_cancellation(self, options: CallOptions) -> Cancellation:
        """See ``run.Host``."""
        return Cancellation(options.is_cancelled, self._settings.cancel_poll_interval)

    def new_driver(
        self, request: Any, result_cls: type, options: CallOptions, cancellation: Cancellation, deadline: Deadline
    ) -> Driver:
        """See ``run.Host``."""
        has_artifacts = bool(request.artifacts_dirs)
        more_to_come = has_artifacts or bool(getattr(request, "post_agent_invocation_commands", None))
        self._drains = self._drains or more_to_come
        exchange = Exchange(
            drains=more_to_come and self._is_one_shot,
            has_artifacts=has_artifacts,
            skips_stale_cancel=self._stale_cancel,
            secrets=request.secrets_to_redact,
        )
        return self._driver(exchange, cancellation, deadline, options, result_cls)

    def _driver(
        self,
        exchange: Exchange,
        cancellation: Cancellation,
        deadline: Deadline,
        options: CallOptions,
        result_cls: type,
    ) -> Driver:
        return Driver(
            exchange,
            cancellation,
            deadline,
            options=options,
            result_cls=result_cls,
            drain_timeout=self._settings.drain_timeout,
            is_last=self._is_one_shot,
            logger=options.logger or self._settings.logger,
        )

    def begin(self, driver: Driver, cancellation: Cancellation, request: m.ClientMessage) -> None:
        """See ``run.Host``."""
        self._calls.add(cancellation)
        self._check_process()
        self._turn.take(driver)
        driver.check()
        line = self._connect(driver.time_left) if self._is_one_shot else self._open_line()
        self._on_artifact = driver.on_artifact or self._on_artifact
        driver.start(line, request, self._on_artifact)

    def end(self, driver: Driver, cancellation: Cancellation, close_timeout: float) -> None:
        """See ``run.Host``."""
        self._calls.discard(cancellation)
        if not self._turn.is_held_by(driver):
            return
        self._last_result = driver.exchange.result or self._last_result
        self._stale_cancel = driver.cancel_was_sent and not driver.exchange.is_confirmed
        if self._is_one_shot or driver.is_unclean:
            self._close(close_timeout)
        self._turn.give_back(driver)

    def abandon(self, driver: Driver, cancellation: Cancellation) -> None:
        """See ``run.Host``."""
        self._calls.discard(cancellation)
        cancellation.end_wait()  # as in Driver.release(), which may not have been reached
        if self._turn.is_held_by(driver) and not driver.is_inherited:
            self._close(0.0)
            self._turn.give_back(driver)

    # --- checks -------------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._process != os.getpid():
            raise RuntimeUseError("this session belongs to the parent process; open one in the child")

    def _open_line(self) -> Line:
        if self._is_closed:
            raise RuntimeUseError("this session is closed (its block was left, or a cancellation was not confirmed)")
        if self._line is None:
            raise RuntimeUseError("enter the session first: `with client.session() as session:`")
        return self._line
