"""Claude Code and Codex as agents: a stand-in on the path prints what the programs print (``recorded``)."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import AgentRuntimeError, CancelledException, Client, Usage
from runtimeuse_sync.local import ClaudeAgent, CodexAgent, CommandLineAgent, LocalRuntime
from runtimeuse_sync.local._processes import output

from .test_agents import Listener, invocation
from .test_processes import lives, wait_for

RECORDED = Path(__file__).parent / "recorded"

SCHEMA = json.dumps({"type": "json_schema", "schema": {"type": "object", "properties": {"files": {"type": "integer"}}}})

AGENTS = {"claude": ClaudeAgent, "codex": CodexAgent}
USED = {
    "claude": Usage(
        input_tokens=10,
        output_tokens=7,
        cache_read_tokens=5,
        cache_write_tokens=3,
        cost_usd=0.00014775,
        turns=1,
        duration_seconds=1.352,
        session_id="5c7b0802-c110-4828-be34-647c2b8d59b6",
    ),
    "codex": Usage(
        input_tokens=12,
        output_tokens=6,
        cache_read_tokens=8,
        cache_write_tokens=0,
        session_id="01a22467-b223-7b52-a17c-fc846b48673b",
    ),
}

StandIn = Callable[..., None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Puts a program on the path that keeps its arguments and its input, prints, and ends."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def make(name: str, printed: str, code: int = 0) -> None:
        (tmp_path / "printed").write_text(printed, encoding="utf-8")
        script = (
            f'printf "%s\\n" "$@" >{tmp_path}/arguments; cat >{tmp_path}/input; cat {tmp_path}/printed; exit {code}'
        )
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return make


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.jsonl").read_text(encoding="utf-8")


def given(tmp_path: Path) -> list[str]:
    return (tmp_path / "arguments").read_text().splitlines()


@pytest.mark.parametrize(("name", "said"), [("claude", []), ("codex", ["I look around."])])
def test_texts_result_and_usage(name: str, said: list[str], stand_in: StandIn) -> None:
    stand_in(name, recorded(f"{name}_text"))
    with LocalRuntime(AGENTS[name]()) as runtime:
        heard: list[str] = []
        result = Client(runtime.url).query(
            "Hello", system_prompt="", on_assistant_message=lambda message: heard.extend(message.text_blocks)
        )
    assert (heard, result.output, result.usage) == ([*said, "Hello there."], "Hello there.", USED[name])


@pytest.mark.parametrize("name", AGENTS)
def test_an_object_that_was_asked_for(name: str, stand_in: StandIn) -> None:
    stand_in(name, recorded(f"{name}_object"))
    result = AGENTS[name]()(invocation(output_format_json_schema_str=SCHEMA), Listener())
    assert result.output == {"files": 3}  # type: ignore[union-attr]


@pytest.mark.parametrize("name", AGENTS)
def test_no_object_though_it_was_asked_for(name: str, stand_in: StandIn) -> None:
    stand_in(name, recorded(f"{name}_text"))
    with pytest.raises(AgentRuntimeError, match="not the JSON object that was asked for"):
        AGENTS[name]()(invocation(output_format_json_schema_str=SCHEMA), Listener())


def test_what_claude_is_called_with(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("claude", recorded("claude_object"))
    message = invocation(
        "--help", system_prompt="-v {prompt}", model="-x", output_format_json_schema_str=SCHEMA, agent_env={"A": "b"}
    )
    ClaudeAgent("--permission-mode", "acceptEdits")(message, Listener())
    assert given(tmp_path) == [
        *("-p", "--output-format=stream-json", "--verbose", "--permission-mode", "acceptEdits"),
        *("--model=-x", "--system-prompt=-v {prompt}"),
        '--json-schema={"type": "object", "properties": {"files": {"type": "integer"}}}',
    ]
    assert (tmp_path / "input").read_text() == "--help"


def test_what_codex_is_called_with(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("codex", recorded("codex_object"))
    copy = f"for a; do case $a in --output-schema=*) cat ${{a#*=}} >{tmp_path}/schema;; esac; done"
    program = tmp_path / "codex"
    program.write_text(program.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{copy}\n"))
    CodexAgent("--skip-git-repo-check")(
        invocation("Hello", system_prompt='Be "brief".\n\x7fé', model="m", output_format_json_schema_str=SCHEMA),
        Listener(),
    )
    *options, schema, last = given(tmp_path)
    assert options == [
        *("exec", "--json", "--skip-git-repo-check", "--model=m"),
        r'--config=developer_instructions="Be \"brief\".\n\u007fé"',
    ]
    assert (last, (tmp_path / "input").read_text()) == ("-", "Hello")
    assert json.loads((tmp_path / "schema").read_text()) == json.loads(SCHEMA)["schema"]
    assert not Path(schema.partition("=")[2]).exists()


def test_what_was_not_asked_for_is_not_given(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("claude", recorded("claude_text"))
    ClaudeAgent()(invocation("Hello"), Listener())
    assert given(tmp_path) == ["-p", "--output-format=stream-json", "--verbose"]


@pytest.mark.parametrize(
    ("name", "printed", "code", "error"),
    [
        ("claude", "claude_error", 1, "API Error: 400 model is not available"),
        ("claude", "claude_limit", 1, "Agent ended with error_max_turns"),
        ("claude", "claude_text", 3, "Hello there."),
        ("codex", "codex_error", 1, "model is not available"),
        ("codex", "codex_text", 3, "agent command failed with exit code: 3"),
    ],
)
def test_a_failure_is_told_in_the_programs_words(
    name: str, printed: str, code: int, error: str, stand_in: StandIn
) -> None:
    stand_in(name, recorded(printed), code)
    with pytest.raises(AgentRuntimeError) as caught:
        AGENTS[name]()(invocation(), Listener())
    assert caught.value.error == error
    assert caught.value.metadata is not None
    assert caught.value.metadata["exit_code"] == code
    assert caught.value.usage.session_id is not None


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("printed", ["", "Not logged in\n", "{}\n[1]\n5\n", '{"type": "result"', "[" * 10_000])
def test_output_without_a_result_is_an_error(name: str, printed: str, stand_in: StandIn) -> None:
    stand_in(name, printed)
    with pytest.raises(AgentRuntimeError, match="ended without a result"):
        AGENTS[name]()(invocation(), Listener())


WRONG: list[dict[str, Any]] = [
    *({"type": kind} for kind in ("assistant", "result", "item.completed", "turn.completed", "turn.failed", "error")),
    {"type": "assistant", "message": 5},
    {"type": "assistant", "message": {"content": "text"}},
    {"type": "assistant", "message": {"content": [5, {"type": "text", "text": 5}, {"type": "text", "text": " "}]}},
    {"type": "item.completed", "item": [5]},
    {"type": "turn.completed", "usage": {"input_tokens": "many", "cached_input_tokens": None}},
    {"type": ["result"]},
]


@pytest.mark.parametrize("name", AGENTS)
def test_events_that_are_not_as_documented_break_nothing(name: str, stand_in: StandIn) -> None:
    events = [event for event in WRONG if event.get("type") != "turn.failed"]
    stand_in(name, "".join(f"{json.dumps(event)}\n" for event in events) + recorded(f"{name}_text"))
    assert AGENTS[name]()(invocation(), Listener()).output == "Hello there."  # type: ignore[union-attr]


@pytest.mark.parametrize("name", AGENTS)
def test_secrets_are_taken_out_of_what_is_said(name: str, stand_in: StandIn) -> None:
    secret = 'a"b\n10'  # its spelling in JSON is another one, and a part of it is a number elsewhere
    printed = recorded(f"{name}_text").replace("Hello there.", json.dumps(secret)[1:-1])
    stand_in(name, printed)
    sender = Listener()
    result = AGENTS[name]()(invocation(secrets_to_redact=[secret]), sender)
    assert (result.output, sender.lines[-1]) == ("[REDACTED]", "[REDACTED]")  # type: ignore[union-attr]


def test_a_line_over_the_limit_is_skipped_and_told_where_it_was_the_result(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "MOST_COLLECTED", 2000)
    long = json.dumps({"type": "user", "message": "x" * 3000})
    stand_in("claude", f"{long}\n{recorded('claude_text')}")
    assert ClaudeAgent()(invocation(), Listener()).output == "Hello there."  # type: ignore[union-attr]
    stand_in("claude", long)
    with pytest.raises(AgentRuntimeError, match="longer than the limit"):
        ClaudeAgent()(invocation(), Listener())


@pytest.mark.parametrize("name", AGENTS)
def test_cancelling_ends_the_program_and_what_it_has_started(name: str, tmp_path: Path, stand_in: StandIn) -> None:
    stand_in(name, "")
    (tmp_path / name).write_text(f"#!/bin/sh\nsleep 1000 & echo $! >{tmp_path}/pid\nwait\n")
    sender = Listener()

    def cancel() -> None:
        wait_for(tmp_path / "pid")
        sender.cancelled.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledException):
        AGENTS[name]()(invocation(), sender)
    thread.join()
    assert not lives(wait_for(tmp_path / "pid"))


@pytest.mark.parametrize("name", AGENTS)
def test_a_program_that_is_not_installed(name: str) -> None:
    agent: CommandLineAgent = AGENTS[name](program=f"/nowhere/{name}")
    with pytest.raises(AgentRuntimeError, match="could not be started: No such file"):
        agent(invocation(), Listener())


@pytest.mark.parametrize("options", [{"program": 5}, {"cwd": 5}])
@pytest.mark.parametrize("name", AGENTS)
def test_what_cannot_be_meant_is_refused_at_once(name: str, options: Any) -> None:
    with pytest.raises(TypeError):
        AGENTS[name](**options)
