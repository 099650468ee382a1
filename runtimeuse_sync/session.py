"""``Session``: a connection that serves one request after another."""

from __future__ import annotations

from typing import Optional

from ._call.in_flight import CallsInFlight
from ._call.lending import CallSettings, Lender, SessionLender
from ._call.limits import Limits
from ._call.observing import Observation
from ._call.request_loop import RequestLoop
from ._call.waits import CLOSE_WAIT, IMPATIENT_CLOSE_WAIT
from ._protocol.exchange import Exchange
from .exceptions import RuntimeUseError
from .messages import EndSessionMessage
from .options import CallOptions, QueryOptions
from .sandbox_calls import SandboxCalls
from .transports import Transport


class Session(SandboxCalls):
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

    def __init__(
        self,
        transport: Transport,
        settings: CallSettings,
        in_flight: CallsInFlight,
        defaults: Optional[QueryOptions] = None,
    ) -> None:
        self._lender = SessionLender(transport, settings)
        self._of_client = in_flight
        self._default_options = defaults

    def __repr__(self) -> str:
        lender = getattr(self, "_lender", None)  # missing if __init__ raised
        if lender is None:
            return "<Session: incomplete>"
        state = "closed" if lender.is_closed else "open" if lender.is_used else "not entered"
        return f"<Session: {state}>"

    def __enter__(self) -> Session:
        self._lender.check_process()
        if self._lender.is_used:
            raise RuntimeUseError("a session can be entered once; call client.session() again")
        self._of_client.add(self)
        try:
            self._lender.open()
        except BaseException:
            self._of_client.discard(self)
            raise
        return self

    def __exit__(self, exc_type: object, error: Optional[BaseException], traceback: object) -> None:
        if self._lender.is_inherited or self._lender.is_closed:
            return  # a forked child, or closed already
        try:
            self.abort()  # calls of other threads, still in flight
            if error is None and self._lender.channel.may_follow:
                self._drain()
            self._close(CLOSE_WAIT)
        except BaseException:  # also of a signal handler, which may raise anywhere
            self._close(IMPATIENT_CLOSE_WAIT)
            raise

    def _drain(self) -> None:
        """Serve messages that may still follow the requests so far. Observers see it as a call of its own."""
        settings = self._lender.settings
        observation = settings.observers.of_call(EndSessionMessage(), settings.logger)
        with observation.of_block():
            self._drain_observed(observation)

    def _drain_observed(self, observation: Observation) -> None:
        settings, options = self._lender.settings, CallOptions()
        call, limits = settings.cancellation(None), Limits(None, None, settings.drain_timeout)
        try:
            channel = self._lender.lend(call, limits)
            observation.watch(channel)
            exchange = Exchange(
                drains=True, has_artifacts=channel.on_artifact is not None, secrets=tuple(channel.secrets)
            )
            loop = RequestLoop(
                exchange, channel, call, limits, options=options, result_cls=object, logger=settings.logger
            )
            loop.start_drain()
            for _ in loop.deliveries():
                pass
        finally:
            observation.unwatch()
            self._lender.take_back(call, is_clean=True, timeout=CLOSE_WAIT)

    def _close(self, timeout: float) -> None:
        self._of_client.discard(self)
        self._lender.close(timeout)

    def abort(self) -> None:
        """Cancel the calls in flight on this session, from any thread, at once; without any, do nothing.

        >>> client.session().abort()
        """
        if not self._lender.is_inherited:
            self._lender.in_flight.abort()

    def _new_lender(self) -> Lender:
        return self._lender

    def _defaults(self) -> Optional[QueryOptions]:
        return self._default_options
