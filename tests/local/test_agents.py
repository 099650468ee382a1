from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from runtimeuse_sync.exceptions import AgentRuntimeError, CancelledException
from runtimeuse_sync.local import CommandLineAgent, agents
from runtimeuse_sync.local._processes import output
from runtimeuse_sync.messages import InvocationMessage

from .conftest import Peer
from .test_processes import lives, wait_for


class Listener:
    """A sender that a user would write for a test."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.messages: list[tuple[str, ...]] = []

    def assistant(self, *text_blocks: str) -> None:
        self.messages.append(text_blocks)

    def error(self, error: str, metadata: Optional[dict[str, Any]] = None) -> None:
        raise AssertionError("an agent's errors end it")

    @property
    def lines(self) -> list[str]:
        return [block for message in self.messages for block in message]


def invocation(prompt: str = "", **fields: Any) -> InvocationMessage:
    return InvocationMessage(**{"system_prompt": "", **fields}, user_prompt=prompt)


def python(code: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def test_the_prompt_goes_in_by_standard_input_and_the_lines_come_out() -> None:
    sender = Listener()
    assert CommandLineAgent("cat")(invocation("one\n\ntwo ✓"), sender) == "two ✓"
    assert sender.lines == ["one", "two ✓"]


def test_the_prompt_goes_in_by_an_argument_as_it_is() -> None:
    sender = Listener()
    prompt = "$HOME; {model} 'x'"
    answer = CommandLineAgent(["printf", "%s|%s|%s", "-p={prompt}", "{model}", "{system_prompt}"])(
        invocation(prompt, model="m", system_prompt="{prompt}"), sender
    )
    assert answer == f"-p={prompt}|m|{{prompt}}"


def test_standard_input_is_empty_when_the_prompt_is_an_argument() -> None:
    answer = CommandLineAgent(python("import sys; print(repr(sys.stdin.read()), sys.argv[1])") + " {prompt}")(
        invocation("hi"), Listener()
    )
    assert answer == "'' hi"


def test_the_rest_goes_in_by_the_environment() -> None:
    code = "import os; print([os.environ.get(n) for n in ('RUNTIMEUSE_SYSTEM_PROMPT', 'RUNTIMEUSE_MODEL', 'KEY')])"
    message = invocation(system_prompt="be brief", agent_env={"KEY": "v"})
    assert CommandLineAgent(python(code))(message, Listener()) == "['be brief', None, 'v']"


def test_structured_output_is_the_last_line() -> None:
    agent = CommandLineAgent(["printf", 'thinking\\n{"n": 1}\\n'])
    message = invocation(output_format_json_schema_str="{}")
    assert agent(message, Listener()) == {"n": 1}


@pytest.mark.parametrize("line", ["no json", "[1]", "", "[" * 10000])
def test_a_result_that_is_no_object_is_an_error(line: str) -> None:
    with pytest.raises(AgentRuntimeError, match="not the JSON object"):
        CommandLineAgent(["printf", "%s", line])(invocation(output_format_json_schema_str="{}"), Listener())


def test_the_whole_output_can_be_the_result() -> None:
    assert CommandLineAgent("cat", whole_output=True)(invocation("a\n\nb\n"), Listener()) == "a\n\nb\n"


def test_an_exit_code_is_an_error_with_the_end_of_standard_error() -> None:
    code = "import sys; print('x' * 9000 + 'out of s3cret', file=sys.stderr); sys.exit(4)"
    with pytest.raises(AgentRuntimeError, match="^agent command failed with exit code: 4$") as caught:
        CommandLineAgent(python(code))(invocation(secrets_to_redact=["s3cret"]), Listener())
    assert caught.value.metadata is not None
    assert caught.value.metadata["exit_code"] == 4
    assert caught.value.metadata["stderr"].endswith("xxx" + "out of [REDACTED]\n")
    assert len(caught.value.metadata["stderr"]) == 4000


def test_a_secret_of_two_lines_is_redacted_before_the_lines_are_told_apart() -> None:
    sender = Listener()
    CommandLineAgent("cat")(invocation("a\nkey-1\nkey-2\nb", secrets_to_redact=["key-1\nkey-2"]), sender)
    assert sender.lines == ["a", "[REDACTED]", "b"]


def test_an_endless_line_is_passed_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "_LONGEST_LINE", 1000)
    sender = Listener()
    CommandLineAgent("cat")(invocation("x" * 100_000), sender)
    assert "".join(sender.lines) == "x" * 100_000
    assert len(sender.lines) > 1


def test_a_long_result_line_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Listener()
    text = "x" * 1_500_009
    assert CommandLineAgent("cat")(invocation(f"first\n{text}\n"), sender) == text
    assert "".join(sender.lines) == "first" + text
    assert max(map(len, sender.lines)) < 1_200_000


@pytest.mark.parametrize("whole_output", [False, True])
def test_a_result_over_the_limit_is_an_error(monkeypatch: pytest.MonkeyPatch, whole_output: bool) -> None:
    monkeypatch.setattr(output, "MOST_COLLECTED", 1000)
    agent = CommandLineAgent("cat", whole_output=whole_output)
    assert agent(invocation("x" * 1000), Listener()) == "x" * 1000
    with pytest.raises(AgentRuntimeError, match="^the agent's result is longer than the limit of 16777216 characters$"):
        agent(invocation("x" * 1001), Listener())


def test_a_long_line_that_is_not_the_last_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MOST_COLLECTED", 1000)
    assert CommandLineAgent("cat")(invocation("x" * 5000 + "\ndone\n \n"), Listener()) == "done"


@pytest.mark.parametrize("prompt", ["--version", "-", "-p"])
@pytest.mark.parametrize("command", ["printf %s {prompt}", "printf {prompt} --", "printf %s {model}"])
def test_a_prompt_is_no_option_to_the_program(command: str, prompt: str) -> None:
    with pytest.raises(AgentRuntimeError, match="begins with a dash.*put `--` before it"):
        CommandLineAgent(command)(invocation(prompt, model=prompt), Listener())


@pytest.mark.parametrize(
    ("command", "answer"),
    [("printf %s -- {prompt}", "----version"), ("printf %s -p={prompt}", "-p=--version"), ("cat", "--version")],
)
def test_a_prompt_that_begins_with_a_dash_goes_in_where_it_is_no_option(command: str, answer: str) -> None:
    assert CommandLineAgent(command)(invocation("--version"), Listener()) == answer


@pytest.mark.parametrize(
    ("command", "fields", "text"),
    [
        ("cat", {"system_prompt": "x" * 200_000}, "the system prompt has 200000 bytes"),
        ("cat", {"output_format_json_schema_str": "x" * 200_000}, "the output schema has 200000 bytes"),
        ("echo {prompt}", {"prompt": "x" * 200_000}, "the prompt has 200000 bytes.*standard input"),
    ],
)
def test_what_is_too_long_for_a_program_is_named(command: str, fields: dict[str, Any], text: str) -> None:
    with pytest.raises(AgentRuntimeError, match=rf"could not be started: Argument list too long \({text}"):
        CommandLineAgent(command)(invocation(**fields), Listener())


def test_carriage_returns_are_part_of_the_line_end() -> None:
    sender = Listener()
    CommandLineAgent("cat")(invocation("one\r\ntwo\r\n"), sender)
    assert sender.lines == ["one", "two"]


def test_a_program_that_reads_late_does_not_hang() -> None:
    code = "import sys; print('x' * 300_000); print(len(sys.stdin.read()))"
    assert CommandLineAgent(python(code))(invocation("p" * 300_000), Listener()) == "300000"


def test_a_program_that_does_not_read_its_prompt_is_fine() -> None:
    assert CommandLineAgent("echo done")(invocation("p" * 300_000), Listener()) == "done"


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AgentRuntimeError, match="agent command could not be started: No such file"):
        CommandLineAgent("/nowhere/agent")(invocation(), Listener())


@pytest.mark.parametrize("command", ["", "  ", []])
def test_a_command_is_needed(command: Any) -> None:
    with pytest.raises(ValueError, match="must name a program"):
        CommandLineAgent(command)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"command": [5]}, TypeError, "^command must be a str or a list of strings, such as .*; it holds a int$"),
        ({"command": None}, TypeError, "^command must be a str or a list of strings, such as .*; got None$"),
        ({"command": "a 'b"}, ValueError, "^command cannot be split as a shell would: No closing quotation$"),
        ({"command": "cat", "cwd": 5}, TypeError, "^cwd must be a path or None; got a int$"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        CommandLineAgent(**options)


def test_the_folder_is_the_agent_s(tmp_path: Path) -> None:
    for cwd in (str(tmp_path), tmp_path):
        assert CommandLineAgent("pwd", cwd=cwd)(invocation(), Listener()) == str(tmp_path)


def test_cancelling_ends_the_program(tmp_path: Path) -> None:
    sender = Listener()
    agent = CommandLineAgent(["sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; wait"])
    thread = threading.Thread(target=lambda: (wait_for(tmp_path / "pid"), sender.cancelled.set()))
    thread.start()
    with pytest.raises(CancelledException):
        agent(invocation(), sender)
    thread.join()
    assert not lives(wait_for(tmp_path / "pid"))


def test_behind_a_runtime(start_peer: Callable[..., Peer]) -> None:
    *said, result = start_peer(CommandLineAgent("cat")).invoke("one\ntwo")
    assert [block for message in said for block in message["text_blocks"]] == ["one", "two"]
    assert result["data"] == {"type": "text", "text": "two"}


def test_a_line_arrives_while_the_program_runs(start_peer: Callable[..., Peer], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    peer = start_peer(CommandLineAgent(["sh", "-c", f"echo one; while [ ! -e {gate} ]; do sleep 0.01; done; echo two"]))
    peer.say("invocation_message", system_prompt="", user_prompt="", secrets_to_redact=[])
    assert peer.hear()["text_blocks"] == ["one"]
    gate.touch()
    assert [peer.hear()["message_type"] for _ in range(2)] == ["assistant_message", "result_message"]


def test_what_the_program_leaves_in_the_background_ends_with_the_runtime(
    start_runtime: Callable[..., Any], tmp_path: Path
) -> None:
    from .conftest import peer_of

    runtime = start_runtime(CommandLineAgent(["sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid; echo done"]))
    with peer_of(runtime) as peer:
        assert peer.invoke()[-1]["data"]["text"] == "done"
    background = wait_for(tmp_path / "pid")
    assert lives(background)
    runtime.close()
    assert not lives(background)
