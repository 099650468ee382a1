"""What users import: the names, what they take, and that each is explained. A change here is a change of the API."""

from __future__ import annotations

import copy
import inspect
import logging
import pickle
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

import runtimeuse_sync
from runtimeuse_sync import Client, QueryOptions, Run, RuntimeUseClient, RuntimeUseSession, Session
from runtimeuse_sync import messages as m

# Names that the asyncio client has, and that moving over must find.
FROM_THE_ASYNCIO_CLIENT = {
    "AgentRuntimeError",
    "AgentRuntimeMessageInterface",
    "ArtifactUploadRequestMessageInterface",
    "ArtifactUploadResponseMessageInterface",
    "ArtifactUploadResult",
    "AssistantMessageInterface",
    "CancelMessage",
    "CancelledException",
    "CommandExecutionMessage",
    "CommandExecutionResult",
    "CommandExecutionResultMessageInterface",
    "CommandInterface",
    "CommandOutputMessageInterface",
    "CommandResultItem",
    "EndSessionConfirmMessage",
    "EndSessionMessage",
    "ErrorMessageInterface",
    "ExecuteCommandsOptions",
    "HeartbeatMessageInterface",
    "InvocationMessage",
    "IsCancelledCallback",
    "OnArtifactUploadRequestCallback",
    "OnAssistantMessageCallback",
    "OnCommandOutputCallback",
    "OnErrorMessageCallback",
    "OnHeartbeatCallback",
    "OnResultMessageCallback",
    "QueryOptions",
    "QueryResult",
    "ResultMessageInterface",
    "RuntimeEnvironmentDownloadableInterface",
    "RuntimeUseClient",
    "RuntimeUseSession",
    "StructuredOutputResult",
    "TextResult",
}
OF_OUR_OWN = {
    "CompletedCommand",
    "Client",
    "CommandFailedError",
    "Connection",
    "ConnectionFailedError",
    "ConnectionLostError",
    "IdleTimeoutError",
    "InvocationTimeoutError",
    "MessageTooLargeError",
    "ObservedCall",
    "Observer",
    "OutputValidationError",
    "ProtocolError",
    "RawResult",
    "Redactor",
    "Run",
    "RuntimeUseError",
    "Session",
    "Tick",
    "Transport",
    "UnknownMessage",
    "Usage",
    "WebSocketTransport",
    "decode_message",
    "encode_message",
    "harmless",
}


# --- names ----------------------------------------------------------------------------------------------


def test_these_are_the_names() -> None:
    assert set(runtimeuse_sync.__all__) == FROM_THE_ASYNCIO_CLIENT | OF_OUR_OWN


def test_they_are_listed_once_and_in_order() -> None:
    assert runtimeuse_sync.__all__ == sorted(set(runtimeuse_sync.__all__))


@pytest.mark.parametrize("name", sorted(FROM_THE_ASYNCIO_CLIENT | OF_OUR_OWN))
def test_each_name_is_there(name: str) -> None:
    assert getattr(runtimeuse_sync, name) is not None


def test_nothing_else_looks_public() -> None:
    submodules = {name for name, value in vars(runtimeuse_sync).items() if inspect.ismodule(value)}
    public = {name for name in vars(runtimeuse_sync) if not name.startswith("_")} - submodules
    assert public == set(runtimeuse_sync.__all__)


def test_the_old_names_are_the_same_objects() -> None:
    assert RuntimeUseClient is Client
    assert RuntimeUseSession is Session


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("runtimeuse_sync").joinpath("py.typed").is_file()


def test_importing_it_brings_in_no_extra_and_no_asyncio() -> None:
    script = (
        "import sys, runtimeuse_sync\n"
        "unwanted = {'asyncio', 'boto3', 'hypothesis', 'jsonschema', 'msgspec', 'obstore', 'opentelemetry'}\n"
        "unwanted |= {'click', 'pydantic', 'pytest', 'rich', 'watchfiles', 'websockets'}\n"
        "print(*sorted(unwanted & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=50)
    assert found.stdout.split() == []


# --- explanations -----------------------------------------------------------------------------------------

EXPORTED = {getattr(runtimeuse_sync, name) for name in runtimeuse_sync.__all__}
CLASSES = sorted(filter(inspect.isclass, EXPORTED), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_has_a_docstring_with_an_example(cls: type) -> None:
    assert cls.__doc__ is not None
    assert ">>> " in cls.__doc__


def own_methods(cls: type) -> list[Any]:
    """Its public methods and properties, those of its bases in this package included."""
    found = []
    for base in cls.__mro__:
        if base.__module__.startswith("runtimeuse_sync"):
            found += [value for name, value in vars(base).items() if not name.startswith("_")]
    found = [value.__func__ if isinstance(value, classmethod) else value for value in found]
    return [value for value in found if inspect.isfunction(value) or isinstance(value, property)]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_method_has_a_docstring(cls: type) -> None:
    for method in own_methods(cls):
        assert inspect.getdoc(method), method


@pytest.mark.parametrize("cls", [Client, m.ResultMessageInterface], ids=lambda cls: cls.__name__)
def test_the_methods_that_users_call_have_an_example(cls: type) -> None:
    methods = own_methods(cls)
    assert methods
    for method in methods:
        assert ">>> " in (inspect.getdoc(method) or ""), method


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_is_explained(cls: type) -> None:
    if not attrs.has(cls):
        return
    for attribute in attrs.fields(cls):
        if attribute.init and attribute.name not in ("message_type", "type") and not attribute.name.startswith("_"):
            assert attribute.name in (cls.__doc__ or ""), attribute.name


@pytest.mark.parametrize("method", [Client.invoke, Client.query, Client.execute_commands, Client.stream])
def test_every_argument_is_explained(method: Any) -> None:
    explained = inspect.getdoc(method) or ""
    for name in inspect.signature(method).parameters:
        assert name in ("self", "args") or name in explained, name  # which args there are, the text says
    assert "Raises:" in explained


# --- signatures -------------------------------------------------------------------------------------------


_MANY = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def shape(function: Any) -> list[str]:
    """Its parameters with their defaults, ``*`` before those that go by name only."""
    parts: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind in _MANY:
            parts.append(_MANY[parameter.kind] + parameter.name)
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f"={default_of(parameter.default)}"
        parts.append(parameter.name + default)
    return parts


def default_of(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)


def test_what_a_client_takes() -> None:
    assert shape(Client) == [
        "ws_url=None",
        "transport=None",
        "*",
        "headers=None",
        "ssl_context=None",
        "proxy='env'",
        "connect_timeout=60.0",
        "ping_interval=20.0",
        "ping_timeout=20.0",
        "max_message_size=67108864",
        "cancel_poll_interval=0.25",
        "drain_timeout=60.0",
        "logger=None",
        "defaults=None",
        "observers=()",
    ]


CALL = ["is_cancelled=None", "timeout=None", "idle_timeout=None", "logger=None"]


@pytest.mark.parametrize("cls", [Client, Session])
def test_what_the_calls_take(cls: type) -> None:
    assert shape(cls.invoke) == [  # type: ignore[attr-defined]
        "invocation",
        "on_result_message=None",
        "result_message_cls=ResultMessageInterface",
        "*",
        "on_assistant_message=None",
        "on_command_output=None",
        "on_artifact_upload_request=None",
        "on_error_message=None",
        "on_heartbeat=None",
        *CALL,
        "output_type=None",
        "output_repairs=0",
    ]
    assert shape(cls.query) == [  # type: ignore[attr-defined]
        "prompt",
        "options=None",
        "*",
        "output_type=None",
        "output_repairs=0",
        "**keywords",
    ]
    assert shape(cls.execute_commands) == [  # type: ignore[attr-defined]
        "commands",
        "options=None",
        "*",
        "check=False",
        "**keywords",
    ]
    assert shape(cls.stream) == ["invocation", "*args", "tick=None", "**keywords"]  # type: ignore[attr-defined]
    assert shape(cls.stream_commands) == [  # type: ignore[attr-defined]
        "commands",
        "options=None",
        "*",
        "tick=None",
        "**keywords",
    ]
    assert shape(cls.abort) == []  # type: ignore[attr-defined]


def test_what_only_a_client_has() -> None:
    assert shape(Client.session) == []
    assert shape(Client.wait_until_ready) == ["timeout=60.0", "*", "is_cancelled=None"]


def test_what_a_run_has() -> None:
    assert {name for name in vars(Run) if not name.startswith("_")} >= {"result", "cancel"}
    for name in ("__enter__", "__exit__", "__iter__", "__next__"):
        assert hasattr(Run, name)
    assert shape(Run.cancel) == []


def test_a_session_is_a_context_manager() -> None:
    assert shape(Session.__enter__) == []
    assert hasattr(Session, "__exit__")


def test_every_class_of_messages_and_options_is_public() -> None:
    for cls in vars(m).values():
        if isinstance(cls, type) and attrs.has(cls) and not cls.__name__.startswith("_"):
            assert cls.__name__ in runtimeuse_sync.__all__


# --- a client is configuration ------------------------------------------------------------------------------


def configuration(client: Client) -> dict[str, Any]:
    return {a.name: getattr(client, a.name) for a in attrs.fields(Client) if a.init}


def test_a_client_has_its_defaults() -> None:
    assert configuration(Client("ws://localhost:8080")) == {
        "ws_url": "ws://localhost:8080",
        "transport": None,
        "headers": None,
        "ssl_context": None,
        "proxy": "env",
        "connect_timeout": 60.0,
        "ping_interval": 20.0,
        "ping_timeout": 20.0,
        "max_message_size": 64 * 1024 * 1024,
        "cancel_poll_interval": 0.25,
        "drain_timeout": 60.0,
        "logger": None,
        "defaults": None,
        "observers": (),
    }


def test_a_client_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIMEUSE_TOKEN", raising=False)
    monkeypatch.setenv("RUNTIMEUSE_URL", "ws://sandbox.example.com")
    client = Client.from_env(connect_timeout=5.0)
    assert (client.ws_url, client.headers, client.connect_timeout) == ("ws://sandbox.example.com", None, 5.0)
    monkeypatch.setenv("RUNTIMEUSE_TOKEN", "s3cret")
    assert Client.from_env().headers == {"Authorization": "Bearer s3cret"}
    headers = {"Authorization": "Basic x", "X-Trace": "1"}
    assert Client.from_env(headers=headers).headers == headers
    with pytest.raises(TypeError, match=r"^headers must be a mapping beside RUNTIMEUSE_TOKEN; got a function$"):
        Client.from_env(headers=dict)
    monkeypatch.delenv("RUNTIMEUSE_URL")
    with pytest.raises(ValueError, match=r"^RUNTIMEUSE_URL is not set: where the runtime listens"):
        Client.from_env()


def test_a_client_with_other_options_is_another_client() -> None:
    client = Client("ws://localhost:8080", connect_timeout=5.0, defaults=QueryOptions(model="small"))
    other = client.with_options(timeout=9)
    assert other is not client
    assert configuration(other) == {**configuration(client), "defaults": QueryOptions(model="small", timeout=9)}
    assert client.defaults == QueryOptions(model="small")
    with pytest.raises(TypeError, match=r"^defaults must be QueryOptions\(\.\.\.\); got a dict$"):
        Client("ws://localhost:8080", defaults={})  # type: ignore[arg-type]


def test_a_client_does_not_change() -> None:
    client = Client("ws://localhost:8080")
    for name in configuration(client):
        with pytest.raises(AttributeError):
            setattr(client, name, None)


def make_headers() -> Mapping[str, str]:
    return {"X-Token": "a"}


class Elsewhere:
    """A transport that can be pickled."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Elsewhere)

    __hash__ = None  # type: ignore[assignment]

    def connection(self) -> Any:
        raise NotImplementedError


CLIENTS = [
    Client("ws://localhost:8080"),
    Client(ws_url="https://user:pass@box.example.com/agent?token=a", headers={"X-Token": "a"}, proxy="http://p:3128"),
    Client("ws://localhost", headers=make_headers, logger=logging.getLogger("mine"), proxy=None),
    Client(
        "ws://localhost",
        connect_timeout=1,
        ping_interval=None,
        ping_timeout=2,
        max_message_size=None,
        cancel_poll_interval=0.5,
        drain_timeout=None,
    ),
    Client(transport=Elsewhere()),
]


@pytest.mark.parametrize("client", CLIENTS, ids=range(len(CLIENTS)))
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_client_pickles(client: Client, protocol: int) -> None:
    again = pickle.loads(pickle.dumps(client, protocol))
    assert type(again) is Client
    assert configuration(again) == configuration(client)
    assert repr(again) == repr(client)


@attrs.frozen(eq=False)
class Special(Client):
    """A user's own."""

    region: str = attrs.field(default="eu", kw_only=True)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda client: pickle.loads(pickle.dumps(client))])
def test_a_client_of_a_class_of_one_s_own_stays_one(duplicate: Any) -> None:
    again = duplicate(Special("ws://h", region="us"))
    assert type(again) is Special
    assert (again.ws_url, again.region) == ("ws://h", "us")


@pytest.mark.parametrize("client", CLIENTS, ids=range(len(CLIENTS)))
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_client_copies(client: Client, duplicate: Any) -> None:
    again = duplicate(client)
    assert again is not client
    assert configuration(again) == configuration(client)


def test_a_client_with_what_cannot_be_pickled_says_so() -> None:
    for client in (
        Client("wss://h", ssl_context=ssl.create_default_context()),
        Client("ws://h", headers=lambda: {"X-Token": "a"}),
    ):
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(client)


def test_a_copy_is_not_aborted_with_the_original() -> None:
    client = Client("ws://localhost")
    registry = client._in_flight
    assert copy.copy(client)._in_flight is not registry


def test_a_client_shows_where_it_goes_and_no_secret() -> None:
    client = Client("https://us:s3cret@box.example.com:8443/s3cret?token=s3cret", headers={"X-Token": "s3cret"})
    assert repr(client) == "<Client: wss://box.example.com:8443>"
    assert repr(Client(transport=Elsewhere())) == "<Client: custom transport>"


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, ValueError, "say where the runtime is: Client('ws://localhost:8080')"),
        ({"ws_url": "ws://h", "transport": Elsewhere()}, ValueError, "give ws_url or transport, not both"),
        (
            {"transport": object()},
            TypeError,
            "transport must have a method connection(), see runtimeuse_sync.transports.Transport",
        ),
        (
            {"ws_url": "ws://h", "cancel_poll_interval": None},
            TypeError,
            "cancel_poll_interval must be a positive number of seconds; got None",
        ),
        (
            {"ws_url": "ws://h", "cancel_poll_interval": 0},
            ValueError,
            "cancel_poll_interval must be a positive number of seconds; got 0",
        ),
        (
            {"ws_url": "ws://h", "logger": "mine"},
            TypeError,
            "logger must be a logging.Logger or LoggerAdapter, or None; got a str",
        ),
        (
            {"transport": Elsewhere(), "headers": {"Authorization": "Bearer x"}},
            ValueError,
            "headers is not for a transport of your own: give it to that instead",
        ),
        (
            {"transport": Elsewhere(), "max_message_size": 5},
            ValueError,
            "max_message_size is not for a transport of your own: give it to that instead",
        ),
        (
            {"ws_url": "ws://h", "drain_timeout": 0},
            ValueError,
            "drain_timeout must be a positive number of seconds, or None for no limit; got 0",
        ),
        (
            {"ws_url": "ws://h", "connect_timeout": float("nan")},
            ValueError,
            "connect_timeout must be a positive number of seconds, or None for no limit; got nan",
        ),
        (
            {"ws_url": "ws://h", "ping_interval": True},
            TypeError,
            "ping_interval must be a positive number of seconds, or None for no pings; got a bool",
        ),
        (
            {"ws_url": "ws://h", "ping_timeout": -1},
            ValueError,
            "ping_timeout must be a positive number of seconds, or None for no limit; got -1",
        ),
        (
            {"ws_url": "ws://h", "max_message_size": 0},
            ValueError,
            "max_message_size must be a positive whole number of bytes, or None for no limit; got 0",
        ),
        (
            {"ws_url": "ws://h", "max_message_size": 1e6},
            TypeError,
            "max_message_size must be a positive whole number of bytes, or None for no limit; got a float",
        ),
        (
            {"ws_url": "ws://h", "max_message_size": True},
            TypeError,
            "max_message_size must be a positive whole number of bytes, or None for no limit; got a bool",
        ),
        (
            {"ws_url": "ws://h", "ssl_context": True},
            TypeError,
            "ssl_context must be an ssl.SSLContext; got a bool",
        ),
        ({"ws_url": "ws://h", "headers": {"X-A": 5}}, TypeError, "headers must map str to str"),
        (
            {"ws_url": "ws://h", "proxy": "proxy:3128"},
            ValueError,
            "only HTTP proxies are supported: write the proxy as in 'http://proxy:3128', or None for none",
        ),
    ],
)
def test_a_client_that_cannot_be_meant_is_refused(arguments: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        Client(**arguments)
    assert str(caught.value) == said


def test_making_a_client_starts_nothing() -> None:
    threads = set(threading.enumerate())
    Client("ws://localhost:1").session()
    assert set(threading.enumerate()) <= threads
