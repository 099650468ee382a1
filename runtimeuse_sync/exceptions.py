"""Everything that this library raises, apart from ``TypeError`` and ``ValueError`` for bad arguments.

::

    RuntimeUseError
    ├── AgentRuntimeError                               the runtime reported an error
    │   └── CommandFailedError                          execute_commands(check=True)
    ├── CancelledException                              is_cancelled, abort() or Run.cancel()
    ├── InvocationTimeoutError (also TimeoutError)      timeout ran out
    │   └── IdleTimeoutError                            idle_timeout ran out
    ├── ConnectionFailedError (also ConnectionError)    never connected
    ├── ConnectionLostError (also ConnectionError)      died before the result
    ├── OutputValidationError                           the answer does not fit output_type
    └── ProtocolError                                   the peer sent what it must not send
        └── MessageTooLargeError

Each of them pickles, copies and unpickles unchanged, and holds plain data only: no socket, no frame. The message
is the first argument and the only one of ``args``, so that who keeps no more than these (Celery's JSON) keeps the
message. What a peer has said is in it on one line, without control characters and cut to a length that a log can take,
so that it can neither forge a line of a log nor steer a terminal; the attributes have it as it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from ._common.close_codes import explain
from ._common.words import failure_of_commands, harmless
from .usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .messages import CommandResultItem, ResultMessageInterface

# Characters of a peer's text that are quoted in a message. The whole text is an attribute.
_LONGEST_ERROR = 10_000
_LONGEST_REASON = 200
# What a server answers, or a gateway in its place, while a sandbox starts. 520 to 530 are a content network's.
_STARTING = frozenset({404, 425, 429, 500, 502, 503, 504, *range(520, 531)})


class RuntimeUseError(Exception):
    """The root of this library's exceptions.

    Raised as it is when a session is used in a way that it cannot serve: after its end, in a forked
    child, from one of its own callbacks.

    >>> try:
    ...     raise AgentRuntimeError("out of memory")
    ... except RuntimeUseError as error:
    ...     print(error)
    out of memory
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call __init__ again, which in a subclass need not take what it has made of ``args``.
        return _restore, (type(self), self.args, self.__dict__.copy())

    def _render_traceback_(self) -> list[str]:
        """The traceback that IPython prints: it calls this method by its name."""
        from .notebook import _tracebacks

        return _tracebacks.rendered(self)


def _restore(cls: type[RuntimeUseError], args: tuple[Any, ...], state: dict[str, Any]) -> RuntimeUseError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class AgentRuntimeError(RuntimeUseError):
    """The runtime said that the request failed.

    Attributes:
        error (str): the runtime's own words, as they came; ``str()`` of the exception has them on one line, without
            control characters, 10,000 characters at most.
        metadata (dict or None): what the runtime sent along.
        result (ResultMessageInterface or None): the result, where the error came after it (a failed
            post-agent command, on runtimes 0.4 to 0.10).

    >>> error = AgentRuntimeError("tool failed", {"tool": "grep"})
    >>> error.error, error.metadata, error.result
    ('tool failed', {'tool': 'grep'}, None)
    """

    def __init__(
        self,
        error: str,
        metadata: Optional[Mapping[str, Any]] = None,
        result: Optional[ResultMessageInterface] = None,
    ) -> None:
        super().__init__(harmless(error, _LONGEST_ERROR))
        self.error = error
        self.metadata = metadata
        self.result = result

    @property
    def usage(self) -> Usage:
        """The usage of the run until it failed, as far as ``metadata`` reports it.

        >>> AgentRuntimeError("Agent ended with an error", {"num_turns": 7}).usage.turns
        7
        """
        return Usage.of(self.metadata)


class CommandFailedError(AgentRuntimeError):
    """A command of ``execute_commands(..., check=True)`` ended with an exit code other than zero.

    Its message has the end of what the command printed: of its standard error if that is known, else of its output.

    Attributes:
        results (list[CommandResultItem]): the commands that ran, in order; the failed one is last.

    >>> from runtimeuse_sync import CommandResultItem
    >>> error = CommandFailedError(results=[CommandResultItem(command="make", exit_code=2, stdout="no Makefile")])
    >>> print(error)
    command 1 failed with exit code 2 (.results has all of it); its output ends:
      | no Makefile
    """

    def __init__(
        self, message: Optional[str] = None, *, results: Sequence[CommandResultItem] = (), stderr: str = ""
    ) -> None:
        text = message or failure_of_commands(results, stderr)
        super().__init__(text)
        self.args = (text,)  # which has lines
        self.results = list(results)


class CancelledException(RuntimeUseError):  # noqa: N818 - the asyncio library's name
    """The call was cancelled: by ``is_cancelled``, ``abort()`` or ``Run.cancel()``.

    >>> str(CancelledException())
    'the call was cancelled'
    """

    def __init__(self, message: str = "the call was cancelled") -> None:
        super().__init__(message)


class InvocationTimeoutError(RuntimeUseError, TimeoutError):
    """The call's ``timeout`` ran out. The remote run has been cancelled.

    Attributes:
        timeout (float or None): the limit, in seconds.

    >>> str(InvocationTimeoutError(timeout=30))
    'no result within the timeout of 30 s'
    """

    _text = "no result within the timeout of {:g} s"

    def __init__(self, message: Optional[str] = None, *, timeout: Optional[float] = None) -> None:
        super().__init__(message or self._text.format(timeout or 0.0))
        self.timeout = timeout


class IdleTimeoutError(InvocationTimeoutError):
    """Nothing came from the runtime for ``idle_timeout`` seconds. The remote run has been cancelled.

    >>> str(IdleTimeoutError(timeout=5))
    'nothing came from the runtime for 5 s (idle_timeout)'
    """

    _text = "nothing came from the runtime for {:g} s (idle_timeout)"


class ConnectionFailedError(RuntimeUseError, ConnectionError):
    """No connection came about. Nothing was sent to the runtime.

    Attributes:
        status (int or None): the HTTP status, where a server answered with one.
        reason (str or None): in a few words, why: the HTTP reason phrase, or the system's error.
        retry_after (float or None): seconds after which to try again, where the server said so (``Retry-After``).

    >>> error = ConnectionFailedError("ws://sandbox:8080 refused", status=502, reason="Bad Gateway")
    >>> error.status, error.reason
    (502, 'Bad Gateway')
    """

    def __init__(
        self,
        message: str,
        *,
        status: Optional[int] = None,
        reason: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(harmless(message, _LONGEST_ERROR))
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether a runtime that is starting, or has too much to do, fails like this: then it may work a little later.

        Known where the error was raised: a copy that was pickled lacks its cause.

        >>> ConnectionFailedError("…", status=503).may_pass, ConnectionFailedError("…", status=401).may_pass
        (True, False)
        """
        if self.status is not None:
            return self.status in _STARTING
        if self.reason in ("timed out", "connection closed"):
            return True
        import ssl  # with the modules of a connection, where it is imported anyway

        cause = self.__cause__
        return isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError)


class ConnectionLostError(RuntimeUseError, ConnectionError):
    """The connection ended before the result came.

    Attributes:
        code (int): the WebSocket close code (RFC 6455, section 7.4): 1005 when the peer closed without
            one, 1006 when it did not close at all (a reset, an end in mid-frame, a dead peer).
        reason (str): the peer's reason as it came, or what happened.

    >>> error = ConnectionLostError(code=1006, reason="connection reset by peer")
    >>> str(error), error.code
    ('connection lost before the result: connection reset by peer (code 1006)', 1006)
    """

    def __init__(self, message: Optional[str] = None, *, code: int = 1006, reason: str = "") -> None:
        said = explain(code, harmless(reason, _LONGEST_REASON))
        super().__init__(message or f"connection lost before the result: {said}")
        self.code = code
        self.reason = reason


class OutputValidationError(RuntimeUseError):
    """The agent's answer does not fit the ``output_type`` that was asked for.

    The text says what was expected and where, never what came: that is in ``result``.

    Attributes:
        message (str): what was wrong.
        path (str): where: a JSON path in ``result.structured_output``, the answer as it came. ``"$"`` is all of it.
        result (ResultMessageInterface or None): the result, with the answer as it came.
        detail (str or None): what a check of your own type said. It may quote the answer, so that no text has it.

    >>> error = OutputValidationError(message="Expected `int`, got `str`", path="$.files")
    >>> str(error), error.path
    ('the answer does not fit output_type: Expected `int`, got `str` at $.files', '$.files')
    """

    def __init__(
        self,
        text: Optional[str] = None,
        *,
        message: str = "",
        path: str = "$",
        result: Optional[ResultMessageInterface] = None,
        detail: Optional[str] = None,
    ) -> None:
        super().__init__(text or f"the answer does not fit output_type: {message} at {path}")
        self.message = message
        self.path = path
        self.result = result
        self.detail = detail


class ProtocolError(RuntimeUseError):
    """The peer sent a bad frame, bad JSON or a bad message; the text says where, never what.

    Attributes:
        close_code (int): the WebSocket code that the connection is closed with.

    >>> str(ProtocolError("assistant_message: expected a string, got null at $.text_blocks[0]"))
    'assistant_message: expected a string, got null at $.text_blocks[0]'
    """

    def __init__(self, message: str, *, close_code: int = 1002) -> None:
        super().__init__(harmless(message, _LONGEST_ERROR))
        self.close_code = close_code


class MessageTooLargeError(ProtocolError):
    """A message over ``max_message_size``: refused from its frame header, before its bytes were read.

    Attributes:
        size (int): what the peer announced, in bytes.
        limit (int): ``max_message_size``, in bytes.

    >>> error = MessageTooLargeError(size=2048, limit=1024)
    >>> str(error), error.size, error.limit
    ('a message of 2048 bytes is over max_message_size (1024 bytes)', 2048, 1024)
    """

    def __init__(self, message: Optional[str] = None, *, size: int = 0, limit: int = 0) -> None:
        text = f"a message of {size} bytes is over max_message_size ({limit} bytes)"
        super().__init__(message or text, close_code=1009)
        self.size = size
        self.limit = limit
