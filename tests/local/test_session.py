"""One connection as its client sees it."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync.exceptions import AgentRuntimeError
from runtimeuse_sync.local import HandlerResult, LocalRuntime
from runtimeuse_sync.local._server import session as _session

from .conftest import LAST, PATIENCE, FileServer, Peer, peer_of
from .test_downloads import archive
from .test_processes import ends, lives, wait_for

StartPeer = Callable[..., Peer]


# --- results -----------------------------------------------------------------------------------------


def test_text_a_dict_and_a_result_with_metadata(start_peer: StartPeer) -> None:
    answers: list[Any] = ["text", {"n": 1}, HandlerResult("more", metadata={"cost": 0.5}), HandlerResult({"m": []})]
    peer = start_peer(lambda invocation, sender: answers.pop(0))
    assert [peer.invoke() for _ in range(4)] == [
        [{"message_type": "result_message", "data": {"type": "text", "text": "text"}}],
        [{"message_type": "result_message", "data": {"type": "structured_output", "structured_output": {"n": 1}}}],
        [{"message_type": "result_message", "data": {"type": "text", "text": "more"}, "metadata": {"cost": 0.5}}],
        [{"message_type": "result_message", "data": {"type": "structured_output", "structured_output": {"m": []}}}],
    ]


def test_the_handler_sees_what_the_client_asked_in_either_spelling(start_peer: StartPeer) -> None:
    seen: list[Any] = []

    def handler(invocation: Any, sender: Any) -> str:
        seen.append((invocation.model, invocation.agent_env, invocation.artifacts_dirs))
        return ""

    peer = start_peer(handler)
    peer.invoke(model="new", agent_env={"A": "b"})
    peer.invoke(preferred_model="old", artifacts_dir="/nowhere")
    assert seen == [("new", {"A": "b"}, None), ("old", None, ["/nowhere"])]


def test_a_handler_s_messages_come_before_its_result(start_peer: StartPeer) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        sender.assistant("one", "two")
        sender.error("soft", {"try": 1})
        sender.error("bare")
        return "done"

    peer = start_peer(handler)
    peer.say("invocation_message", system_prompt="", user_prompt="", secrets_to_redact=[])
    assert peer.hear_until("result_message")[:-1] == [
        {"message_type": "assistant_message", "text_blocks": ["one", "two"]},
        {"message_type": "error_message", "error": "soft", "metadata": {"try": 1}},
        {"message_type": "error_message", "error": "bare"},
    ]


class BrokenError(Exception):
    pass


@pytest.mark.parametrize(
    ("exception", "error"),
    [
        (BrokenError("out of tokens"), {"error": "out of tokens"}),
        (BrokenError(), {"error": "BrokenError"}),
        (SystemExit(3), {"error": "3"}),
        (KeyboardInterrupt(), {"error": "KeyboardInterrupt"}),
        (AgentRuntimeError("failed", {"code": 7}), {"error": "failed", "metadata": {"code": 7}}),
        (AgentRuntimeError("failed\n\ton line 2" + "x" * 20_000), {"error": "failed\n\ton line 2" + "x" * 20_000}),
    ],
)
def test_what_a_handler_raises_is_an_error_in_its_own_words(
    start_peer: StartPeer, exception: BaseException, error: dict[str, Any]
) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        raise exception

    peer = start_peer(handler)
    assert peer.invoke() == [{"message_type": "error_message", **error}]
    assert peer.is_served()


def test_the_log_shows_where_a_handler_failed_but_not_what_it_said(
    start_peer: StartPeer, caplog: pytest.LogCaptureFixture
) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        reason = f"s3cret {invocation.user_prompt}"
        raise BrokenError(reason)

    start_peer(handler).invoke("a prompt")
    (record,) = caplog.records
    assert "BrokenError" in record.getMessage()
    assert "raise BrokenError(reason)" in record.getMessage()
    assert "a prompt" not in record.getMessage()


def test_an_error_on_purpose_is_a_line_in_the_log(start_peer: StartPeer, caplog: pytest.LogCaptureFixture) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        raise AgentRuntimeError("out of s3cret", {"key": "s3cret"})

    start_peer(handler).invoke()
    (record,) = caplog.records
    assert record.getMessage() == "the handler raised AgentRuntimeError"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, "a handler returns str, dict or HandlerResult; this one returned NoneType"),
        (b"bytes", "a handler returns str, dict or HandlerResult; this one returned bytes"),
        ({"x": object()}, "the result cannot be said in JSON: TypeError"),
        ({"x": float("nan")}, "the result cannot be said in JSON: ValueError"),
    ],
)
def test_an_answer_that_is_none_is_an_error(start_peer: StartPeer, answer: Any, error: str) -> None:
    peer = start_peer(lambda invocation, sender: answer)
    assert peer.invoke() == [{"message_type": "error_message", "error": error}]
    assert peer.is_served()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"output": None}, "HandlerResult's output must be a str or a dict; got None"),
        ({"output": "s3cret", "metadata": ["s3cret"]}, "HandlerResult's metadata must be a dict or None; got a list"),
    ],
)
def test_a_result_that_is_none_says_what_it_has_to_be(start_peer: StartPeer, arguments: Any, error: str) -> None:
    with pytest.raises(TypeError) as caught:
        HandlerResult(**arguments)
    assert caught.value.args == (error,)
    heard = start_peer(lambda invocation, sender: HandlerResult(**arguments)).invoke()
    assert heard == [{"message_type": "error_message", "error": error}]


def test_a_fault_of_our_own_leaves_no_client_waiting(
    start_peer: StartPeer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr("runtimeuse_sync.local._server.request.fetch", broken)
    peer = start_peer()
    item = [{"download_url": "http://127.0.0.1/", "working_dir": str(tmp_path)}]
    assert peer.invoke(pre_agent_downloadables=item)[0]["error"] == "internal error: LookupError"
    assert peer.is_served()


# --- commands ----------------------------------------------------------------------------------------


def test_commands_stop_at_the_first_that_fails(start_peer: StartPeer) -> None:
    *output, result = start_peer().execute("echo one", "echo two; exit 7", "echo never")
    assert [(m["stream"], m["text"], m["command"]) for m in output] == [
        ("stdout", "one\n", "echo one"),
        ("stdout", "two\n", "echo two; exit 7"),
    ]
    assert result == {
        "message_type": "command_execution_result_message",
        "results": [
            {"command": "echo one", "exit_code": 0, "stdout": "one\n"},
            {"command": "echo two; exit 7", "exit_code": 7, "stdout": "two\n"},
        ],
    }


def test_standard_error_is_streamed_and_not_part_of_the_result(start_peer: StartPeer) -> None:
    output, result = start_peer().execute("echo oops >&2")
    assert (output["stream"], output["text"]) == ("stderr", "oops\n")
    assert result["results"][0]["stdout"] == ""


def test_a_command_that_cannot_start_is_an_error(start_peer: StartPeer) -> None:
    peer = start_peer()
    (error,) = peer.execute({"command": "true", "cwd": "/nowhere"})
    assert error["error"] == "command could not be started: No such file or directory"
    assert peer.is_served()


@pytest.mark.skipif(sys.platform != "linux", reason="keepers are for Linux")
def test_an_exit_code_that_cannot_be_known_is_an_error(start_peer: StartPeer) -> None:
    """As that of a command that ends what would tell it."""
    peer = start_peer()
    (error,) = peer.execute("kill -KILL $PPID")
    # It may do so before it is known to have started, or after.
    assert error["error"].endswith("is gone")
    assert peer.is_served()


def test_the_steps_of_an_invocation_in_their_order(
    start_peer: StartPeer, file_server: FileServer, tmp_path: Path
) -> None:
    file_server.files["/src.zip"] = ("", archive(("a.txt", b"from the archive")))
    peer = start_peer(lambda invocation, sender: (tmp_path / "before.txt").read_text())
    *output, result = peer.invoke(
        pre_agent_downloadables=[{"download_url": file_server.url("/src.zip"), "working_dir": str(tmp_path)}],
        pre_agent_invocation_commands=[
            {"command": 'echo "$(cat a.txt) $N" > before.txt', "cwd": str(tmp_path), "env": {"N": "1"}}
        ],
        post_agent_invocation_commands=[{"command": "echo after"}],
    )
    assert [m["text"] for m in output] == ["after\n"]
    assert result["data"]["text"] == "from the archive 1\n"


@pytest.mark.parametrize("when", ["pre", "post"])
def test_a_command_around_the_agent_that_fails_is_the_request_s_error(start_peer: StartPeer, when: str) -> None:
    peer = start_peer()
    heard = peer.invoke(**{f"{when}_agent_invocation_commands": [{"command": "exit 1"}, {"command": "echo never"}]})
    error = f"{when}-agent command failed with exit code: 1"
    assert heard == [{"message_type": "error_message", "error": error}]
    assert peer.is_served()


def test_after_a_failed_pre_command_or_handler_nothing_more_is_run(start_peer: StartPeer, tmp_path: Path) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        (tmp_path / "handler").touch()
        raise BrokenError

    post = [{"command": f"touch {tmp_path}/post"}]
    peer = start_peer(handler)
    peer.invoke(pre_agent_invocation_commands=[{"command": "exit 1"}], post_agent_invocation_commands=post)
    assert list(tmp_path.iterdir()) == []
    peer.invoke(post_agent_invocation_commands=post)
    assert list(tmp_path.iterdir()) == [tmp_path / "handler"]


def test_a_failed_download_is_the_request_s_error(
    start_peer: StartPeer, tmp_path: Path, file_server: FileServer
) -> None:
    missing = [{"download_url": file_server.url("/missing?sig=x"), "working_dir": str(tmp_path)}]
    peer = start_peer()
    assert peer.invoke(pre_agent_downloadables=missing)[0]["error"] == "Download failed: 404 Not Found"
    heard = peer.execute("true", pre_execution_downloadables=missing)
    assert heard[0]["error"] == "Download failed: 404 Not Found"


def test_a_download_over_the_limit_is_refused(start_peer: StartPeer, tmp_path: Path, file_server: FileServer) -> None:
    file_server.files["/a"] = ("text/plain", b"x" * 100)
    item = [{"download_url": file_server.url("/a"), "working_dir": str(tmp_path)}]
    assert (
        "limit of 99 bytes"
        in start_peer(max_download_size=99).execute("true", pre_execution_downloadables=item)[0]["error"]
    )


# --- secrets -----------------------------------------------------------------------------------------


def test_secrets_are_in_nothing_that_leaves(start_peer: StartPeer, tmp_path: Path) -> None:
    def handler(invocation: Any, sender: Any) -> Any:
        sender.assistant("a s3cret", "s3cret")
        sender.error("error s3cret", {"s3cret": ["s3cret"]})
        if invocation.user_prompt:
            raise BrokenError("raised s3cret")
        return HandlerResult({"s3cret": {"deep": "xs3cretx"}}, metadata={"s3cret": 1})

    out = tmp_path / "s3cret-out"
    out.mkdir()
    peer = start_peer(handler)
    common: dict[str, Any] = {"secrets_to_redact": ["s3cret"], "artifacts_dirs": [str(out)]}
    fail = f"echo s3cret; echo s3cret >&2; echo x > {out}/s3cret.txt; exit 1"
    peer.say(
        "invocation_message",
        system_prompt="",
        user_prompt="",
        pre_agent_invocation_commands=[{"command": "echo s3cret"}],
        **common,
    )
    heard = peer.hear_until("result_message")
    peer.say("invocation_message", system_prompt="", user_prompt="fail", **common)
    heard += [peer.hear() for _ in range(3)]
    heard += peer.execute(fail, **common)
    heard.append(peer.asked())
    text = json.dumps(heard)
    assert "s3cret" not in text
    assert {m["message_type"] for m in heard} == {
        "assistant_message",
        "command_output_message",
        "error_message",
        "result_message",
        "command_execution_result_message",
        "artifact_upload_request_message",
    }
    assert heard[-1]["filename"] == "[REDACTED].txt"


def test_a_secret_of_an_earlier_request_stays_one(start_peer: StartPeer) -> None:
    peer = start_peer()
    peer.execute("true", secrets_to_redact=["s3cret"])
    assert peer.invoke("a s3cret")[-1]["data"]["text"] == "a [REDACTED]"


# --- one at a time, cancellation, heartbeats ---------------------------------------------------------


def test_a_second_request_in_flight_is_refused_and_the_first_goes_on(start_peer: StartPeer, tmp_path: Path) -> None:
    peer = start_peer()
    peer.start(f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo first")
    (refusal,) = peer.execute("echo second")
    assert "in flight" in refusal["error"]
    (tmp_path / "go").touch()
    assert peer.hear_until(*LAST)[-1]["results"][0]["stdout"] == "first\n"
    assert peer.is_served()


def test_cancelling_ends_the_commands_and_keeps_the_connection(start_peer: StartPeer, tmp_path: Path) -> None:
    peer = start_peer()
    peer.start(f"sleep 1000 & echo $! > {tmp_path}/pid; wait", "echo never")
    child = wait_for(tmp_path / "pid")
    peer.say("cancel_message")
    assert peer.hear_until(*LAST) == [{"message_type": "error_message", "error": "Request cancelled"}]
    assert not lives(child)
    assert peer.is_served()


def test_a_handler_is_told_and_its_next_message_ends_it(start_peer: StartPeer) -> None:
    ended = threading.Event()

    def handler(invocation: Any, sender: Any) -> str:
        if invocation.user_prompt:
            return "served"
        sender.assistant("begun")
        assert sender.cancelled.wait(PATIENCE)
        try:
            sender.assistant("too late")
        finally:
            ended.set()
        raise AssertionError("the message should have ended the handler")

    peer = start_peer(handler)
    peer.say("invocation_message", system_prompt="", user_prompt="", secrets_to_redact=[])
    assert peer.hear()["text_blocks"] == ["begun"]
    peer.say("cancel_message")
    assert peer.hear()["error"] == "Request cancelled"
    assert ended.wait(PATIENCE)
    assert peer.invoke("again")[-1]["data"]["text"] == "served"


def test_a_handler_that_does_not_listen_is_left_behind(start_peer: StartPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "_CANCEL_GRACE", 0.05)
    go = threading.Event()
    results: list[str] = []

    def handler(invocation: Any, sender: Any) -> str:
        if invocation.user_prompt == "stubborn":
            assert go.wait(PATIENCE)
            results.append("returned")
        return str(invocation.user_prompt)

    peer = start_peer(handler)
    peer.say("invocation_message", system_prompt="", user_prompt="stubborn", secrets_to_redact=[])
    peer.say("cancel_message")
    assert peer.hear()["error"] == "Request cancelled"
    assert peer.invoke("next")[-1]["data"]["text"] == "next"
    go.set()
    assert peer.invoke("last")[-1]["data"]["text"] == "last"


def test_cancelling_nothing_is_nothing(start_peer: StartPeer) -> None:
    peer = start_peer()
    peer.say("cancel_message")
    assert peer.is_served()


def test_heartbeats_while_a_request_is_in_flight_and_none_after(start_peer: StartPeer) -> None:
    go = threading.Event()

    def handler(invocation: Any, sender: Any) -> str:
        sender.assistant("begun")
        assert go.wait(PATIENCE)
        return ""

    peer = start_peer(handler, heartbeat_interval=0.05)
    began = time.monotonic()
    peer.say("invocation_message", system_prompt="", user_prompt="", secrets_to_redact=[])
    peer.hear_until("assistant_message")
    # One may have been under way, still of another phase.
    beats = [*peer.hear_until("heartbeat_message"), peer.hear()]
    while beats[-1]["elapsed_ms"] < 150:
        beats.append(peer.hear())
    took = time.monotonic() - began
    go.set()
    peer.hear_until("result_message")
    assert {b["message_type"] for b in beats} == {"heartbeat_message"}
    assert {b["phase"] for b in beats[1:]} == {"agent"}
    elapsed = [b["elapsed_ms"] for b in beats]
    assert elapsed == sorted(elapsed)
    assert elapsed[-1] <= 1000 * took + 1
    assert len(beats) <= took / 0.05
    with pytest.raises(TimeoutError):
        peer.hear(timeout=0.2)


def test_heartbeats_tell_of_commands(start_peer: StartPeer, tmp_path: Path) -> None:
    peer = start_peer(heartbeat_interval=0.05)
    peer.start(f"echo begun; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done")
    peer.hear_until("command_output_message")
    # One may have been under way.
    assert [peer.hear()["phase"] for _ in range(2)][-1] == "commands"
    (tmp_path / "go").touch()
    peer.hear_until("command_execution_result_message")


# --- the end -----------------------------------------------------------------------------------------


def test_the_end_is_confirmed_and_the_close_frame_is_empty(start_peer: StartPeer) -> None:
    peer = start_peer()
    peer.say("end_session_message")
    assert peer.hear() == {"message_type": "end_session_confirm_message"}
    assert peer.hear_close() is None
    assert peer.connection.close_code == 1005


def test_the_end_waits_for_the_request_in_flight(start_peer: StartPeer, tmp_path: Path) -> None:
    peer = start_peer()
    peer.start(f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo done")
    peer.say("end_session_message")
    assert "ending" in peer.execute("true")[0]["error"]
    (tmp_path / "go").touch()
    types = [m["message_type"] for m in peer.hear_until("end_session_confirm_message")]
    assert types == ["command_output_message", "command_execution_result_message", "end_session_confirm_message"]


def test_leaving_ends_the_commands_of_the_request_in_flight(
    start_runtime: Callable[..., LocalRuntime], tmp_path: Path
) -> None:
    with peer_of(start_runtime()) as peer:
        peer.start(f"echo $$ > {tmp_path}/pid; exec sleep 1000")
        child = wait_for(tmp_path / "pid")
    assert ends(child)


def test_a_thousand_requests_on_one_connection(start_peer: StartPeer) -> None:
    peer = start_peer(lambda invocation, sender: invocation.user_prompt)
    for n in range(1000):
        assert peer.invoke(str(n))[0]["data"]["text"] == str(n)
    # The threads of the last ones may still be about to end.
    assert sum(thread.name == "runtimeuse-request" for thread in threading.enumerate()) < 10


# --- what is not in the protocol ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object"),
        ("{}", "required field missing at $.message_type"),
        ('{"message_type": "s3cret_message"}', "unknown message type: s3cret_message"),
        ('{"message_type": "invocation_message"}', "required field missing"),
        ('{"message_type": "invocation_message", "system_prompt": 1, "user_prompt": ""}', "expected a string"),
        ('{"message_type": "command_execution_message", "commands": [{}]}', "commands[0]"),
        ("[" * 2**20, "malformed"),
        (b"{}", "a binary frame"),
        ("", "not JSON"),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("in_flight", [False, True])
def test_a_bad_message_is_an_error_and_the_connection_lives_on(
    start_peer: StartPeer, tmp_path: Path, frame: Any, error: str, in_flight: bool
) -> None:
    peer = start_peer()
    if in_flight:
        peer.start(f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done")
    peer.connection.send(frame)
    assert error in peer.hear()["error"]
    (tmp_path / "go").touch()
    if in_flight:
        peer.hear_until("command_execution_result_message")
    assert peer.is_served()


def test_text_that_is_no_utf8_closes_the_connection_alone(start_runtime: Callable[..., LocalRuntime]) -> None:
    runtime = start_runtime()
    with peer_of(runtime) as hostile, peer_of(runtime) as other:
        hostile.connection.send(b"\xff{}", text=True)
        assert hostile.hear_close() == 1007
        assert other.is_served()


def test_a_message_over_the_limit_closes_the_connection_alone(start_runtime: Callable[..., LocalRuntime]) -> None:
    runtime = start_runtime(max_message_size=10_000)
    with peer_of(runtime) as hostile, peer_of(runtime) as other:
        hostile.connection.send("[" * 10_001)
        assert hostile.hear_close() == 1009
        assert other.is_served()
