"""``run``: input, both streams, the exit code, whatever the runtime's generation."""

from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    CancelledException,
    Client,
    CommandExecutionMessage,
    CommandFailedError,
    CommandOutputMessageInterface,
    CommandResultItem,
    CompletedCommand,
    ExecuteCommandsOptions,
    InvocationTimeoutError,
    QueryOptions,
)
from runtimeuse_sync.commands import SandboxError
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation


def test_streams_and_exit_code(client: Client) -> None:
    done = client.run("echo out; echo err >&2; exit 3", timeout=60)
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert 0 < done.duration < 60


def test_a_list_is_a_program_and_its_arguments(client: Client) -> None:
    words = ["a  b", "$HOME", "it's", "*", "-n", "", "line\nbreak", "ü"]
    assert client.run(["printf", "%s|", *words]).stdout == "".join(f"{word}|" for word in words)


def test_directory_and_environment(client: Client, tmp_path: Path) -> None:
    done = client.run('pwd; echo "$GIVEN"', cwd=str(tmp_path), env={"GIVEN": "it's"})
    assert done.stdout == f"{tmp_path}\nit's\n"


def test_its_own_path_hides_no_program_from_us(client: Client) -> None:
    pieces: list[CommandOutputMessageInterface] = []
    for on_output in (None, pieces.append):
        done = client.run("echo hello; ls", env={"PATH": "/nowhere"}, on_output=on_output)
        assert (done.exit_code, done.stdout) == (127, "hello\n")


@pytest.mark.parametrize("data", [b"", b"x", b"a\0b\xff\n", bytes(range(256)) * 5], ids=["empty", "x", "binary", "all"])
def test_input_arrives_as_it_is(client: Client, data: bytes) -> None:
    assert client.run("od -An -v -tx1 | tr -d ' \\n'", input=data).stdout == data.hex()


def test_without_input_there_is_none(client: Client) -> None:
    assert client.run("wc -c").stdout.strip() == "0"


@pytest.mark.slow
def test_more_input_than_a_message_takes_comes_in_several(local: Client) -> None:
    data = bytes(range(256)) * (14 * 2**20 // 256)
    assert local.run("cksum; wc -c", input=data).stdout.split()[1] == str(len(data))


@pytest.mark.slow
def test_output_beyond_the_limit_of_runtimes_comes_whole(client: Client) -> None:
    done = client.run("seq 300000; seq 2000000 2200000 >&2; exit 1")
    assert done.exit_code == 1
    assert done.stdout.split() == [str(number) for number in range(1, 300_001)]
    assert done.stderr.split() == [str(number) for number in range(2_000_000, 2_200_001)]


@pytest.mark.slow
def test_output_is_seen_whole(client: Client) -> None:
    seen: list[CommandOutputMessageInterface] = []
    line = "seq 300000; echo err >&2"
    done = client.run(line, on_output=seen.append)
    assert (len(done.stdout), done.stderr) == (1_988_895, "err\n")
    assert {piece.command for piece in seen} == {line}
    if any(piece.stream == "stderr" for piece in seen):
        assert "".join(piece.text for piece in seen if piece.stream == "stdout") == done.stdout
    else:  # until 0.13 the streams come as one
        assert len("".join(piece.text for piece in seen)) == len(done.stdout) + len(done.stderr)


def test_output_is_seen_as_it_comes(local: Client, tmp_path: Path) -> None:
    def on_output(message: CommandOutputMessageInterface) -> None:
        if "first" in message.text:
            (tmp_path / "go").touch()

    line = f"echo first; until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo second"
    assert local.run(line, on_output=on_output, timeout=50).stdout == "first\nsecond\n"


def test_bytes_that_are_no_text_are_replaced(local: Client) -> None:
    assert local.run(r"printf 'a\377b\303\274'").stdout == "a�bü"


def test_check(client: Client) -> None:
    line = "echo out; echo why >&2; exit 2"
    with pytest.raises(CommandFailedError, match=r"command 1 failed with exit code 2 .*\n  \| why$") as caught:
        client.run(line, check=True)
    assert caught.value.results == [CommandResultItem(command=line, exit_code=2, stdout="out\n")]
    assert client.run("exit 0", check=True).exit_code == 0


def test_a_secret_is_redacted_in_all_of_it(client: Client) -> None:
    seen: list[CommandOutputMessageInterface] = []
    line = 'echo "<$KEY>"; seq 300000; echo "$KEY" >&2'
    done = client.run(line, env={"KEY": "s3cr3t-value"}, secrets_to_redact=["s3cr3t-value", "s3cr3t"])
    assert done.stdout.startswith("<[REDACTED]>\n1\n2\n")
    assert done.stderr == "[REDACTED]\n"
    assert "s3cr3t" not in repr(done) + repr(seen)


def test_what_is_left_in_the_background_holds_nothing_up(local: Client) -> None:
    done = local.run("sleep 30 & echo $!", timeout=25)
    assert done.exit_code == 0
    assert local.run(["kill", done.stdout.strip()]).exit_code == 0


def test_in_a_session(local: Client) -> None:
    with local.session() as session:
        assert [session.run(["echo", word]).stdout for word in ("one", "two")] == ["one\n", "two\n"]


def test_defaults_of_the_client_count() -> None:
    with ScriptedRuntime(generation("0.15", Reply(hangs=True))) as runtime:
        client = Client(runtime.url, defaults=QueryOptions(timeout=0.2))
        with pytest.raises(InvocationTimeoutError):
            client.run("sleep 100")


def test_a_cancellation_ends_it(local: Client, made_in_the_sandbox: list[str]) -> None:
    cancel = threading.Event()
    with pytest.raises(CancelledException):
        local.run("echo x; sleep 100", on_output=lambda message: cancel.set(), is_cancelled=cancel, timeout=50)
    # What a cancelled call made stays: nothing more is asked of the sandbox.
    for name in made_in_the_sandbox:
        shutil.rmtree(Path("/tmp", name), ignore_errors=True)


def test_a_directory_that_is_not_there_is_the_runtimes_error(local: Client) -> None:
    with pytest.raises(AgentRuntimeError):
        local.run("ls", cwd="/no/such/directory")


@pytest.mark.parametrize("command", [7, [], ["ls", 7], None, b"ls"])
def test_a_command_that_cannot_be_meant(local: Client, command: object) -> None:
    with pytest.raises(TypeError, match="command must be a str"):
        local.run(command)  # type: ignore[arg-type]


def test_input_is_bytes(local: Client) -> None:
    with pytest.raises(TypeError, match="input must be bytes"):
        local.run("cat", input="text")  # type: ignore[arg-type]


def test_a_runtime_without_commands_says_so() -> None:
    with ScriptedRuntime(generation("0.4")) as runtime:
        with pytest.raises(AgentRuntimeError, match="Unknown message type"):
            Client(runtime.url).run("ls")


def test_a_sandbox_that_does_not_answer() -> None:
    with ScriptedRuntime(generation("0.15")) as runtime:
        with pytest.raises(SandboxError, match="did not answer"):
            Client(runtime.url).run("ls")


def lying(answer: str) -> ScriptedRuntime:
    """A runtime that answers each script with ``answer``."""

    def script(peer: Peer) -> None:
        while True:
            request = peer.receive(None)
            commands = getattr(request, "commands", [])
            mark = commands[-1].command.partition("%s>' ")[2][:32] if commands else ""
            results = [{"command": "", "exit_code": 0, "stdout": f"<{mark}:{answer}:{mark}>"} for _ in commands]
            peer.send({"message_type": "command_execution_result_message", "results": results})

    return ScriptedRuntime(script)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "how the command ended"),
        ("-1 2 3 4 5 ", "how the command ended"),
        ("1 2 3 4 " + "9" * 5000, "how the command ended"),
        ("0 1 1 0 0 +!;!", "not base64"),
        ("0 1 1 0 0 +[REDACTED];", "one of the secrets"),
        (f"0 {2**28} 1 0 0 ", "let it write to a file, and download that"),
        ("!the sandbox has no program \x1b[31mbase64", r"^the sandbox has no program  \[31mbase64$"),
    ],
)
def test_a_sandbox_that_lies(answer: str, reason: str) -> None:
    with lying(answer) as runtime:
        with pytest.raises(SandboxError, match=reason):
            Client(runtime.url).run("ls")


def test_a_result_is_plain() -> None:
    done = CompletedCommand(command="ls", exit_code=0, stdout="secret", stderr="", duration=1.0)
    assert repr(done) == "CompletedCommand(command='ls', exit_code=0, duration=1.0)"
    assert ExecuteCommandsOptions().timeout is None


def test_a_sandbox_that_does_not_stop_answering() -> None:
    def script(peer: Peer) -> None:
        mark = peer.expect(CommandExecutionMessage).commands[-1].command.partition("%s>' ")[2][:32]
        peer.send({"message_type": "assistant_message", "text_blocks": [f"<{mark}:"]})
        while True:
            peer.send({"message_type": "assistant_message", "text_blocks": ["x" * 2**20]})

    with ScriptedRuntime(script) as runtime:
        with pytest.raises(SandboxError, match="does not stop answering"):
            Client(runtime.url).run("ls")


def test_a_sandboxs_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SandboxError("the sandbox has no program tar")))
    assert (type(error), str(error)) == (SandboxError, "the sandbox has no program tar")
