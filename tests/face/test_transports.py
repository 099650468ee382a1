"""Transports of a user's own, and what they may bring; and what is shown of a client and a transport that fail."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Sequence
from traceback import TracebackException
from typing import Any, Callable, NoReturn

import attrs
import pytest

from runtimeuse_sync import (
    AssistantMessageInterface,
    Client,
    CommandExecutionMessage,
    CommandInterface,
    ConnectionFailedError,
    InvocationMessage,
    ProtocolError,
    ResultMessageInterface,
    TextResult,
    WebSocketTransport,
)

from ..support import invocation


@attrs.define
class Brings:
    """A transport, and its own connection: a request is answered by ``messages``."""

    messages: Sequence[Any]
    was_opened: bool = True
    waiting: list[Any] = attrs.field(factory=list)
    sent: list[Any] = attrs.field(factory=list)

    def connection(self) -> Brings:
        return self

    def open(self, timeout: Any) -> None: ...

    def send(self, message: Any) -> None:
        self.sent.append(message)
        if isinstance(message, (InvocationMessage, CommandExecutionMessage)):
            self.waiting += self.messages

    def receive(self, timeout: float) -> Sequence[Any]:
        batch, self.waiting = self.waiting, []
        return batch

    def wake(self) -> None: ...

    def close(self, timeout: float) -> None: ...


RESULT = ResultMessageInterface(data=TextResult(text="done"))


@attrs.define(kw_only=True)
class OwnAssistantMessage(AssistantMessageInterface):
    colour: str = "red"


@attrs.define(kw_only=True)
class OwnResult(ResultMessageInterface):
    score: int = 5


def test_messages_of_a_subclass_reach_the_callback_of_their_base() -> None:
    heard: list[Any] = []
    messages = [OwnAssistantMessage(text_blocks=["a"]), AssistantMessageInterface(text_blocks=["b"])]
    own_result = OwnResult(data=TextResult(text="done"))
    client = Client(transport=Brings([*messages, messages[0], own_result]))
    result = client.invoke(invocation(), heard.append, on_assistant_message=heard.append)
    assert result is own_result
    assert heard == [*messages, messages[0], own_result]


@pytest.mark.parametrize("nonsense", [None, "text", 5])
def test_what_is_no_message_is_a_fault_of_the_transport(nonsense: Any) -> None:
    with pytest.raises(ProtocolError, match=r"^the transport brought a \w+, which is no message of a runtime$"):
        Client(transport=Brings([nonsense])).invoke(invocation())


def test_so_is_a_result_of_another_class_than_was_asked_for() -> None:
    with pytest.raises(ProtocolError, match=r"^the transport brought a ResultMessageInterface, not a OwnResult$"):
        Client(transport=Brings([RESULT])).invoke(invocation(), result_message_cls=OwnResult)


@attrs.define
class OfOld(Brings):
    """It was written when ``was_opened`` was called ``is_open``, and it cannot be woken."""

    was_opened: None = None  # type: ignore[assignment]
    is_open: bool = True
    wake: None = None  # type: ignore[assignment]


def test_a_transport_that_knows_the_old_name_is_served() -> None:
    transport = OfOld([RESULT])
    with Client(transport=transport).session() as session:  # type: ignore[arg-type]
        assert session.invoke(invocation()) is RESULT
    assert Client(transport=transport).invoke(invocation()) is RESULT  # type: ignore[arg-type]


def test_our_own_has_the_old_name_as_an_alias() -> None:
    connection = WebSocketTransport("ws://localhost:1").connection()
    assert connection.was_opened is False
    with pytest.warns(DeprecationWarning, match="^is_open is deprecated: write was_opened$"):
        assert connection.is_open is False


def test_commands_may_be_any_iterable() -> None:
    transport = Brings([])
    with pytest.raises(ValueError, match="got an empty one"):
        Client(transport=transport).execute_commands(iter([]))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"as in \[CommandInterface\(command=\"ls\"\)\]; got a int in it$"):
        Client(transport=transport).execute_commands(["ls", 5])  # type: ignore[list-item]
    for wrong in ("ls", CommandInterface(command="ls"), 5):
        with pytest.raises(TypeError, match=f"got a {type(wrong).__name__}$"):
            Client(transport=transport).execute_commands(wrong)  # type: ignore[arg-type]
    assert transport.sent == []


# --- what a reporter that shows variables sees -----------------------------------------------------------

SECRET = "zq9secretzq9"


def report(error: BaseException) -> str:
    """As Sentry, rich and cgitb make it: the variables of every frame, by their ``repr``."""
    return "".join(TracebackException.from_exception(error, capture_locals=True).format())


@attrs.frozen(eq=False)
class Shown(Client):
    """A user's own, with the text that attrs makes for it."""

    colour: str = attrs.field(kw_only=True, default="red")


@attrs.frozen(eq=False, repr=False)
class Special(Client):
    """A user's own, whose making can fail half-way."""

    region: str = attrs.field(kw_only=True)

    @region.default
    def _look_up(self) -> NoReturn:
        raise RuntimeError("no region")


class Closed:
    """A transport that cannot even be looked at."""

    @property
    def connection(self) -> NoReturn:
        raise RuntimeError("closed")


@pytest.mark.parametrize("make", [lambda: Special("ws://h"), lambda: Client(transport=Closed())])
def test_a_client_that_is_half_made_can_be_reported(make: Callable[[], Client]) -> None:
    with pytest.raises(RuntimeError) as caught:
        make()
    assert "<Client: " in report(caught.value)


def test_the_text_of_a_subclass_shows_no_secret() -> None:
    text = repr(Shown(f"ws://us:{SECRET}@h/{SECRET}", headers={"X": SECRET}, proxy=f"http://us:{SECRET}@p"))
    assert "colour='red'" in text
    assert SECRET not in text


def test_a_client_that_was_never_made_has_a_text() -> None:
    assert repr(Client.__new__(Client)) == "<Client: incomplete>"


class Unpickled:
    """Pickles as a client whose configuration the one who reads it does not take."""

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (cls, configuration) = Client("ws://h").__reduce__()
        return rebuild, (cls, {**configuration, "headers": {"X-A": f"{SECRET}\n"}})


REFUSED: dict[str, Callable[[], Any]] = {
    "a user without a host": lambda: Client(f"ws://us:{SECRET}@"),
    "a port that is none": lambda: Client(f"ws://us:{SECRET}"),
    "a host that unicode would turn into another": lambda: Client(f"ws://us:{SECRET}@h\u2100st"),
    "a host that is not valid": lambda: Client(f"ws://us:{SECRET}@\xfc..example"),
    "a surrogate": lambda: Client(f"ws://us:{SECRET}\ud800@h"),
    "a URL of bytes": lambda: Client(f"ws://us:{SECRET}@h".encode()),  # type: ignore[arg-type]
    "a line break in a header": lambda: Client("ws://h", headers={"X-A": f"{SECRET}\n"}),
    "a bad name of a header": lambda: Client("ws://h", headers={"X A": SECRET}),
    "a header of bytes": lambda: Client("ws://h", headers={"X-A": SECRET.encode()}),  # type: ignore[dict-item]
    "headers in a list": lambda: Client("ws://h", headers=[("X-A", SECRET)]),  # type: ignore[arg-type]
    "another scheme of a proxy": lambda: Client("ws://h", proxy=f"socks5://us:{SECRET}@p"),
    "a proxy that cannot be read": lambda: Client("ws://h", proxy=f"http://us:{SECRET}@[p"),
    "a surrogate in a proxy": lambda: Client("ws://h", proxy=f"http://us:{SECRET}\ud800@p"),
    "another fault beside a secret": lambda: Client(f"ws://us:{SECRET}@h", drain_timeout=0),
    "settings for a transport": lambda: Client(transport=Brings([]), headers={"X-A": SECRET}),
    "no argument of a client": lambda: Client(f"ws://us:{SECRET}@h", nonsense=1),  # type: ignore[call-arg]
    "a transport": lambda: WebSocketTransport(f"ws://us:{SECRET}@h", ping_interval=0),
    "a pickle": lambda: pickle.loads(pickle.dumps(Unpickled())),
    "headers from a function": lambda: Client("ws://h", headers=lambda: {"X-A": f"{SECRET}\n"}).invoke(invocation()),
    "headers in a list from a function": lambda: Client(
        "ws://h",
        headers=lambda: [("X-A", SECRET)],  # type: ignore[arg-type,return-value]
    ).invoke(invocation()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_secret_is_in_no_frame_of_an_error_about_it(what: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        REFUSED[what]()
    assert SECRET not in report(caught.value)
    assert SECRET not in repr(vars(caught.value))
    assert not caught.value.__suppress_context__ or caught.value.__context__ is None


def test_nor_is_that_of_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"socks5://us:{SECRET}@proxy")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConnectionFailedError, match="only HTTP proxies") as caught:
        Client("ws://sandbox.example.com").invoke(invocation())
    assert SECRET not in report(caught.value)
    assert caught.value.__context__ is None


def test_what_a_users_function_raises_keeps_its_frames() -> None:
    def headers() -> dict[str, str]:
        raise ValueError("the vault is closed")

    with pytest.raises(ValueError, match="vault") as caught:
        Client("ws://h", headers=headers).invoke(invocation())
    assert 'raise ValueError("the vault is closed")' in report(caught.value)


def test_a_refused_connection_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConnectionFailedError) as caught:
        Client(f"ws://us:{SECRET}@127.0.0.1:1/{SECRET}?t={SECRET}", headers={"X-A": SECRET}).invoke(invocation())
    assert SECRET not in report(caught.value)
    assert SECRET not in caplog.text
