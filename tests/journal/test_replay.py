"""``Replay``: the caller sees what was seen; another request is refused; what can go wrong goes wrong."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    CancelledException,
    Client,
    CommandInterface,
    CommandResultItem,
    ConnectionFailedError,
    ConnectionLostError,
    IdleTimeoutError,
    InvocationTimeoutError,
    ResultMessageInterface,
)
from runtimeuse_sync.journal import Fault, JournalError, Replay, ReplayError, load, record
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import ALL, SESSIONS, invocation, port_without_listener, text_result
from .support import Start, recorded_run, said, seen

OUTPUT = {"message_type": "command_output_message", "stream": "stdout", "text": "made", "command": "make"}
METADATA = {"num_turns": 2}
# What runtimes are asked, and what they do.
REPLIES: dict[str, tuple[Reply, dict[str, Any]]] = {
    "a result": (Reply(messages=[said("one"), said("two")], result={"files": 3}, metadata=METADATA), {}),
    "artifacts": (Reply(artifacts=["/out/a"], late_artifacts=["/out/b"]), {"artifacts_dirs": ["/out"]}),
    "an error": (Reply(messages=[said("one")], error="rate limited", metadata=METADATA), {}),
}


def recording(path: Path, script: Any, **fields: Any) -> Any:
    """What a caller sees of a call while it is recorded."""
    with ScriptedRuntime(script) as runtime, record(Client(runtime.url), path) as client:
        return seen(client, **fields)


@pytest.mark.parametrize("what", REPLIES)
@pytest.mark.parametrize("release", ALL)
def test_the_caller_sees_the_same_in_every_generation(tmp_path: Path, release: str, what: str) -> None:
    reply, fields = REPLIES[what]
    was = recording(tmp_path / "j", generation(release, reply), **fields)
    for other in (None, *ALL):
        assert seen(Client(transport=Replay(tmp_path / "j", generation=other)), **fields) == was, other


def test_command_output_and_heartbeats_in_the_words_of_older_generations(tmp_path: Path) -> None:
    heartbeat = {"message_type": "heartbeat_message", "phase": "agent", "elapsed_ms": 5}
    script = generation("0.15", Reply(messages=[OUTPUT, heartbeat], result={"a": 1}))
    recording(tmp_path / "j", script)

    def types(release: str) -> list[str]:
        with Client(transport=Replay(tmp_path / "j", generation=release)).stream(invocation()) as run:
            return [type(message).__name__ for message in run]

    result = "ResultMessageInterface"
    assert types("0.15") == ["CommandOutputMessageInterface", "HeartbeatMessageInterface", result]
    assert types("0.13") == types("0.4") == ["AssistantMessageInterface", result]


@pytest.mark.parametrize("recorded", ["0.9", "0.15"])
def test_a_failing_post_agent_command_in_the_place_where_each_generation_tells_it(
    tmp_path: Path, recorded: str
) -> None:
    fields = {"post_agent_invocation_commands": [CommandInterface("make")]}
    recording(tmp_path / "j", generation(recorded, Reply(post_agent_error="no make")), **fields)
    for release in ALL:
        client = Client(transport=Replay(tmp_path / "j", generation=release))
        with pytest.raises(AgentRuntimeError, match="no make") as caught:
            client.invoke(invocation(**fields))
        assert recorded == "0.15" or (caught.value.result is None) == (release in SESSIONS)


def test_commands_as_each_generation_ends_them(tmp_path: Path) -> None:
    items = [CommandResultItem(command="make", exit_code=2, stdout="no")]
    with ScriptedRuntime(generation("0.15", Reply(command_results=items))) as runtime:
        with record(Client(runtime.url), tmp_path / "j") as client:
            assert client.execute_commands(["make"]).results == items

    def replayed(release: str) -> Any:
        return Client(transport=Replay(tmp_path / "j", generation=release)).execute_commands(["make"]).results

    assert replayed("0.12") == items
    assert replayed("0.10") == [CommandResultItem(command="make", exit_code=2)]
    for release, words in {"0.9": "command failed with exit code: 2", "0.4": "Unknown message type"}.items():
        with pytest.raises(AgentRuntimeError, match=words):
            replayed(release)


def test_a_result_in_text_is_none_of_the_oldest_generation(tmp_path: Path) -> None:
    recording(tmp_path / "j", generation("0.15", Reply(result="done")))
    with pytest.raises(JournalError, match=r"line 3: a runtime 0\.4 has no results in text"):
        Client(transport=Replay(tmp_path / "j", generation="0.4")).invoke(invocation())


# --- how recordings end ---------------------------------------------------------------------------------


def test_errors_of_connections_come_again(tmp_path: Path) -> None:
    def lost(peer: Peer) -> None:
        peer.receive()
        peer.send(said("one"))
        peer.cut()

    was = recording(tmp_path / "lost", lost)
    assert was[1][0] is ConnectionLostError
    assert seen(Client(transport=Replay(tmp_path / "lost"))) == was
    with port_without_listener() as port, record(Client(f"ws://127.0.0.1:{port}"), tmp_path / "failed") as client:
        was = seen(client)
    assert was[1][0] is ConnectionFailedError
    assert seen(Client(transport=Replay(tmp_path / "failed"))) == was


def test_a_cancelled_call_and_one_that_timed_out(scripted_runtime: Start, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.15", Reply(messages=[said("one")], hangs=True)))
    with record(Client(runtime.url), tmp_path / "j") as client:
        with pytest.raises(CancelledException), client.stream(invocation()) as run:
            for _ in run:
                run.cancel()
        with pytest.raises(IdleTimeoutError):
            client.invoke(invocation(), idle_timeout=0.1)
    replayed = Client(transport=Replay(tmp_path / "j"))
    assert seen(replayed) == (["one"], (CancelledException, "the call was cancelled"))
    assert seen(replayed)[1][0] is IdleTimeoutError


def test_a_recording_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "j"
    recording(path, generation("0.15", Reply(messages=[said("one")])))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    texts, (error, words) = seen(Client(transport=Replay(path)))
    assert (texts, error) == (["one"], ConnectionLostError)
    assert "the recording ends here" in words


def test_cancelling_a_replay(tmp_path: Path) -> None:
    recording(tmp_path / "j", generation("0.15", Reply(messages=[said("one")])))
    for release in (None, *ALL):
        client = Client(transport=Replay(tmp_path / "j", generation=release, faults=[Fault.stall(1)]))
        with pytest.raises(CancelledException), client.stream(invocation()) as run:
            for _ in run:
                run.cancel()


# --- which call is played -------------------------------------------------------------------------------


def test_a_request_that_differs_is_shown_beside_the_recorded_one(tmp_path: Path) -> None:
    path = tmp_path / "j"
    recording(path, generation("0.15"))
    with pytest.raises(ReplayError) as caught:
        Client(transport=Replay(path)).invoke(invocation(user_prompt="Hullo", model="big"))
    assert isinstance(caught.value, AssertionError)
    assert (caught.value.path, caught.value.line) == (str(path), 1)
    for words in ("user_prompt:", "- 'Hello'", "+ 'Hullo'", "model:", "- None", "+ 'big'"):
        assert words in str(caught.value)
    with pytest.raises(ReplayError, match="command_execution_message"):
        Client(transport=Replay(path)).execute_commands(["ls"])


def test_which_fields_count(tmp_path: Path) -> None:
    recording(tmp_path / "j", generation("0.15"))
    replay = Replay(tmp_path / "j", fields=["system_prompt"])
    Client(transport=replay).invoke(invocation(user_prompt="Hullo"))
    with pytest.raises(ValueError, match="no field 'agent_env'"):
        Replay(tmp_path / "j", fields=["agent_env"])


def test_secrets_do_not_count(tmp_path: Path) -> None:
    def fields(secret: str) -> dict[str, Any]:
        commands = [CommandInterface("make", env={secret: secret})]
        prompt = f"use {secret} of https://x/?{secret}"
        env = {"TOKEN": secret}
        return {
            "secrets_to_redact": [secret],
            "agent_env": env,
            "user_prompt": prompt,
            "pre_agent_invocation_commands": commands,
        }

    was = recording(tmp_path / "j", generation("0.15"), **fields("s3cret-of-production"))
    assert seen(Client(transport=Replay(tmp_path / "j")), **fields("another")) == was


def test_calls_are_found_in_whatever_order_they_are_asked_for_and_played_once(tmp_path: Path) -> None:
    def echo(peer: Peer) -> None:
        peer.send(text_result(getattr(peer.receive(), "user_prompt", "")))

    with ScriptedRuntime(echo) as runtime, record(Client(runtime.url), tmp_path / "j") as client:
        for number in range(8):
            client.query(str(number))
    replay, answers = Replay(tmp_path / "j"), []
    client = Client(transport=replay)
    threads = [
        threading.Thread(target=lambda n=n: answers.append(client.query(str(n)).output)) for n in range(7, 0, -1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [str(number) for number in range(1, 8)]
    assert [run.request.user_prompt for run in replay.unplayed] == ["0"]
    client.query("0")
    with pytest.raises(ReplayError, match="all recorded calls have been played"):
        client.query("0")


@pytest.mark.parametrize("release", [None, *SESSIONS])
def test_a_session_with_its_end(tmp_path: Path, release: str) -> None:
    reply = Reply(result={"a": 1}, late_artifacts=["/out/a"])

    def two_calls(client: Client) -> list[str]:
        asked: list[str] = []

        def put(request: Any) -> tuple[str, str]:
            asked.append(request.filepath)
            return "http://x/", "a/b"

        with client.session() as session:
            for prompt in ("one", "two"):
                request = invocation(user_prompt=prompt, artifacts_dirs=["/out"])
                session.invoke(request, on_artifact_upload_request=put)
        return asked

    with ScriptedRuntime(generation("0.15", reply)) as runtime, record(Client(runtime.url), tmp_path / "j") as client:
        was = two_calls(client)
    assert was == ["/out/a", "/out/a"]
    assert two_calls(Client(transport=Replay(tmp_path / "j", generation=release))) == was


def test_an_older_generation_refuses_the_second_request_of_a_session(tmp_path: Path) -> None:
    with ScriptedRuntime(generation("0.15")) as runtime, record(Client(runtime.url), tmp_path / "j") as client:
        with client.session() as session:
            session.query("one")
            session.query("two")
    with Client(transport=Replay(tmp_path / "j", generation="0.9")).session() as session:
        session.query("one")
        with pytest.raises(ConnectionLostError, match="one request a connection"):
            session.query("two")


def test_a_result_of_the_users_own_class(tmp_path: Path) -> None:
    @attrs.define(kw_only=True)
    class Scored(ResultMessageInterface):
        custom_score: float = 0.0

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send({**text_result("done"), "custom_score": 0.5})

    recording(tmp_path / "j", script)
    client = Client(transport=Replay(tmp_path / "j"))
    assert client.invoke(invocation(), result_message_cls=Scored).custom_score == 0.5


# --- time and faults ------------------------------------------------------------------------------------


def test_as_fast_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "j"
    recording(path, generation("0.15", Reply(messages=[said("one")])))
    clock = next(load(path)[0].entries()).clock
    path.write_text("".join(slower(line, clock) for line in path.read_text().splitlines()))

    def seconds(speed: Any) -> float:
        start = time.monotonic()
        Client(transport=Replay(path, speed=speed)).invoke(invocation())
        return time.monotonic() - start

    assert load(path)[0].duration == pytest.approx(0.4)
    assert seconds(1.0) >= 0.2
    assert seconds(2.0) >= 0.1
    assert seconds(None) < seconds(0.5)


def slower(line: str, clock: float) -> str:
    """``line``, a fifth of a second behind ``connected`` if it was received, and two fifths if it is the end."""
    fields = json.loads(line)
    fields["clock"] = clock + {"received": 0.2, "ended": 0.4}.get(fields["event"], 0.0)
    return json.dumps(fields) + "\n"


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_speeds_that_cannot_be_meant(tmp_path: Path, speed: float) -> None:
    (tmp_path / "j").touch()
    with pytest.raises(ValueError, match="speed must be a positive number"):
        Replay(tmp_path / "j", speed=speed)


def test_a_generation_that_never_was(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    with pytest.raises(ValueError, match="no such release: '0.3'"):
        Replay(tmp_path / "j", generation="0.3")


def faulty(path: Path, *faults: Fault, **keywords: Any) -> tuple[list[str], BaseException]:
    texts: list[str] = []
    with pytest.raises((ConnectionLostError, InvocationTimeoutError)) as caught:
        Client(transport=Replay(path, faults=faults)).invoke(
            invocation(), on_assistant_message=lambda message: texts.extend(message.text_blocks), **keywords
        )
    return texts, caught.value


def test_faults(tmp_path: Path) -> None:
    recording(tmp_path / "j", generation("0.15", Reply(messages=[said("one"), said("two")])))
    for fault in (Fault.cut(after=1), Fault.reset(after=1)):
        texts, error = faulty(tmp_path / "j", fault)
        assert texts == ["one"]
        assert isinstance(error, ConnectionLostError)
        assert error.code == 1006
    assert isinstance(faulty(tmp_path / "j", Fault.cut(after=0))[1], ConnectionLostError)
    texts, error = faulty(tmp_path / "j", Fault.stall(after=2), idle_timeout=0.1)
    assert texts == ["one", "two"]
    assert isinstance(error, IdleTimeoutError)
    assert isinstance(faulty(tmp_path / "j", Fault.stall(after=2), timeout=0.1)[1], InvocationTimeoutError)
    assert Client(transport=Replay(tmp_path / "j", faults=[Fault.cut(1, call=2)])).invoke(invocation())


def test_a_fault_behind_the_end_does_not_come(tmp_path: Path) -> None:
    was = recording(tmp_path / "j", generation("0.15", Reply(messages=[said("one")])))
    assert seen(Client(transport=Replay(tmp_path / "j", faults=[Fault.cut(after=9)]))) == was
    with pytest.raises(ValueError, match="after must be a number of messages"):
        Fault.cut(after=-1)


def test_a_replay_can_be_recorded(scripted_runtime: Start, tmp_path: Path) -> None:
    recorded_run(scripted_runtime(generation("0.15", Reply(messages=[said("one")]))), tmp_path / "j")
    with record(Client(transport=Replay(tmp_path / "j")), tmp_path / "again") as client:
        client.invoke(invocation())
    [first], [second] = load(tmp_path / "j"), load(tmp_path / "again")
    assert list(first.messages) == list(second.messages)
    assert first.request == second.request
