"""A runtime that says the secrets it was told to keep: they are in no error of any call."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    Client,
    CommandExecutionMessage,
    CommandFailedError,
    EndSessionMessage,
    InvocationMessage,
    Run,
    RuntimeUseError,
    Session,
)
from runtimeuse_sync.commands import SandboxError
from runtimeuse_sync.local import LocalRuntime, NodeRuntime
from runtimeuse_sync.testing import Peer, ScriptedRuntime

from ..support import text_result

SECRET = "s3cret"
# What would show the secret once it was made harmless.
SPLIT = "no s3\x1b[0mcr\0et"
ERROR = {"message_type": "error_message", "error": SPLIT, "metadata": {"at": [SECRET, SPLIT]}}
SECRETS = {"secrets_to_redact": [SECRET], "timeout": 30}
CALLS: dict[str, Callable[[Client, Path], Any]] = {
    "upload": lambda client, folder: client.upload(folder, "/tmp/there", **SECRETS),  # type: ignore[arg-type]
    "download": lambda client, folder: client.download("/tmp/there", folder / "here", **SECRETS),  # type: ignore[arg-type]
    "run": lambda client, folder: client.run("ls", check=True, **SECRETS),  # type: ignore[arg-type]
}


def complain(peer: Peer) -> None:
    peer.expect(CommandExecutionMessage)
    peer.send(ERROR)


def refuse(peer: Peer) -> None:
    """Answers each script with words of a sandbox about why it cannot."""
    while isinstance(request := peer.receive(None), CommandExecutionMessage):
        mark = request.commands[-1].command.partition("%s>' ")[2][:32]
        results = [{"command": "", "exit_code": 0, "stdout": f"<{mark}:!no {SECRET}:{mark}>"} for _ in request.commands]
        peer.send({"message_type": "command_execution_result_message", "results": results})


def fail(peer: Peer) -> None:
    command = peer.expect(CommandExecutionMessage).commands[0].command
    results = [{"command": command, "exit_code": 1, "stdout": SPLIT}]
    peer.send({"message_type": "command_execution_result_message", "results": results})


def everything_about(error: BaseException) -> str:
    lines = traceback.TracebackException.from_exception(error).format()
    return f"{error!r} {vars(error)} {error.__context__!r} {''.join(lines)}"


@pytest.mark.parametrize("script", [complain, refuse], ids=["complain", "refuse"])
@pytest.mark.parametrize("name", CALLS)
def test_an_error_of_a_runtime(name: str, script: Callable[[Peer], None], tmp_path: Path) -> None:
    with ScriptedRuntime(script) as runtime:
        with pytest.raises(RuntimeUseError, match=r"^no \[REDACTED\]$") as caught:
            CALLS[name](Client(runtime.url), tmp_path)
    assert isinstance(caught.value, (AgentRuntimeError, SandboxError))
    assert SECRET not in everything_about(caught.value)


@pytest.mark.parametrize("transfer", ["uploads", "downloads"])
def test_an_error_of_a_transfer_around_a_query(transfer: str, tmp_path: Path) -> None:
    def answer(peer: Peer) -> None:
        if isinstance(peer.receive(), InvocationMessage):
            peer.send(text_result("done"))
        else:
            peer.send(ERROR)

    (tmp_path / "a").touch()
    options: Any = {transfer: {"/tmp/there": tmp_path / "a"}}
    with ScriptedRuntime(answer) as runtime:
        with pytest.raises(RuntimeUseError) as caught:
            Client(runtime.url).query("Hello", **SECRETS, **options)
    reported = caught.value if transfer == "uploads" else caught.value.__cause__
    assert isinstance(reported, AgentRuntimeError)
    assert str(reported) == "no [REDACTED]"
    assert SECRET not in everything_about(reported)


def test_a_command_that_failed() -> None:
    with ScriptedRuntime(fail) as runtime:
        with pytest.raises(CommandFailedError, match=r"\| no \[REDACTED\]$") as caught:
            Client(runtime.url).execute_commands(["ls"], check=True, secrets_to_redact=[SECRET])
    assert caught.value.results[0].exit_code == 1
    assert SECRET not in everything_about(caught.value)


def test_secrets_that_overlap_in_the_output_of_run(tmp_path: Path) -> None:
    with LocalRuntime(lambda invocation, sender: "") as runtime:
        done = Client(runtime.url).run("echo abcdef", secrets_to_redact=["abcd", "cdef"], timeout=30)
    assert done.stdout == "[REDACTED]\n"


def test_what_comes_at_the_end_of_a_session() -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(text_result("done"))
        peer.expect(EndSessionMessage)
        peer.send(ERROR)

    with ScriptedRuntime(script) as runtime:
        with pytest.raises(AgentRuntimeError, match=r"^no \[REDACTED\]$"), Client(runtime.url).session() as session:
            session.query(
                "Hello",
                system_prompt="",
                secrets_to_redact=[SECRET],
                artifacts_dirs=["/out"],
                on_artifact_upload_request=lambda request: ("https://example.com", "text/plain"),
            )


# --- what a reporter shows that shows variables ---------------------------------------------------------------


def of_environment(client: Client) -> Any:
    return Client.from_env(headers=dict)


def of_environment_with_more(client: Client) -> Any:
    return Client.from_env(connect_timeout=0)


REFUSALS: dict[str, Callable[[Client], Any]] = {
    "from_env": of_environment,
    "from_env with more": of_environment_with_more,
    "with_options": lambda client: client.with_options(secrets_to_redact=SECRET),  # type: ignore[arg-type]
    "query": lambda client: client.query("", secrets_to_redact=SECRET),  # type: ignore[call-overload]
    "stream": lambda client: client.stream("", secrets_to_redact=[SECRET, ""]),
    "execute_commands": lambda client: client.execute_commands(["ls"], secrets_to_redact=[SECRET], timeout=0),
    "upload": lambda client: client.upload("a", "/b", secrets_to_redact=[SECRET], timeout=0),
    "LocalRuntime": lambda client: LocalRuntime(lambda invocation, sender: "", token=SECRET, port=-1),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_no_frame_of_a_refusal_holds_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", "ws://127.0.0.1:1")
    monkeypatch.setenv("RUNTIMEUSE_TOKEN", SECRET)
    with pytest.raises((TypeError, ValueError)) as caught:
        REFUSALS[name](Client("ws://127.0.0.1:1"))
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    inside = [frame for frame in report.stack if frame.filename != __file__]
    assert inside
    assert SECRET not in "".join(str(frame.locals) for frame in inside)


@pytest.mark.parametrize("cls", [Client, Session, Run, LocalRuntime, NodeRuntime])
def test_what_could_not_be_made_still_has_a_text(cls: type) -> None:
    assert repr(cls.__new__(cls)).startswith(f"<{cls.__name__}")
