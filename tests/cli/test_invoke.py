"""``invoke``: the result on standard output, all else beside it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResponseMessageInterface,
    AssistantMessageInterface,
    CancelMessage,
    CommandOutputMessageInterface,
    EndSessionMessage,
    HeartbeatMessageInterface,
    InvocationMessage,
)
from runtimeuse_sync.cli import main
from runtimeuse_sync.local import HandlerResult, LocalRuntime
from runtimeuse_sync.testing import Peer, Reply, ScriptedRuntime, generation

from ..support import text_result
from .conftest import COMMAND, Done

Cli = Callable[..., Done]
Start = Callable[..., subprocess.Popen[str]]
Local = Callable[..., LocalRuntime]
Scripted = Callable[..., ScriptedRuntime]

MESSAGES = [
    AssistantMessageInterface(text_blocks=["Reading.", "Two files."]),
    CommandOutputMessageInterface(stream="stdout", text="one\ntw", command="ls"),
    CommandOutputMessageInterface(stream="stdout", text="o\nthree", command="ls"),
    HeartbeatMessageInterface(phase="agent", elapsed_ms=15000),
    AssistantMessageInterface(text_blocks=["Done.\n"]),
]


def answering(runtime: Scripted, **reply: Any) -> ScriptedRuntime:
    return runtime(generation("0.15", Reply(**reply)))


def test_the_result_alone_is_on_standard_output(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime, messages=MESSAGES, result="42 files")
    said = "Reading.\nTwo files.\none\ntwo\nthree\nDone.\n"
    assert cli("invoke", runtime.url, "Count") == Done(0, "42 files\n", said)


def test_lines_of_commands_are_put_together_blank_and_endless_ones_too(cli: Cli, scripted_runtime: Scripted) -> None:
    pieces = ["a", "\n", "\n", "x" * 100_000, "y"]
    messages = [CommandOutputMessageInterface(stream="stdout", text=piece, command="x") for piece in pieces]
    done = cli("invoke", answering(scripted_runtime, messages=messages, result="").url, "x")
    assert done == Done(0, "\n", f"a\n\n{'x' * 100_000}\ny\n")


def test_a_structured_result_is_a_line_of_json(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime, result={"größe": 42})
    assert cli("invoke", runtime.url, "Count") == Done(0, '{"größe": 42}\n', "")


def test_what_a_handler_prints_with_a_line_end_gets_no_other(cli: Cli, scripted_runtime: Scripted) -> None:
    assert cli("invoke", answering(scripted_runtime, result="a\n").url, "x").out == "a\n"


def test_what_is_sent(cli: Cli, scripted_runtime: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "s3cret-value")
    runtime = answering(scripted_runtime)
    options = ("-s", "Be brief.", "-m", "large", "-e", "API_KEY", "-e", "A=b", "--secret-env", "API_KEY")
    assert cli("invoke", runtime.url, "Count", *options).code == 0
    assert runtime.wait_for(InvocationMessage) == InvocationMessage(
        system_prompt="Be brief.",
        user_prompt="Count",
        model="large",
        agent_env={"API_KEY": "s3cret-value", "A": "b"},
        secrets_to_redact=["s3cret-value"],
    )


def test_what_is_not_said_is_not_sent(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime)
    cli("invoke", runtime.url, "Count")
    assert runtime.wait_for(InvocationMessage) == InvocationMessage(system_prompt="", user_prompt="Count")


def test_a_prompt_from_standard_input(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime)
    cli("invoke", runtime.url, "-", stdin="several\nlines\n")
    assert runtime.wait_for(InvocationMessage).user_prompt == "several\nlines\n"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_standard_input_that_is_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], errors: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["runtimeuse-sync", "invoke", "ws://127.0.0.1:1", "-"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xff"), encoding="utf-8", errors=errors))
    assert main() == 1
    assert capsys.readouterr().err == "runtimeuse-sync: standard input is not utf-8\n"


BARE = {"type": "object", "properties": {"files": {"type": "integer"}}}


def test_a_schema(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(BARE))
    runtime = answering(scripted_runtime, result={"files": 3})
    assert cli("invoke", runtime.url, "Count", "--schema", tmp_path / "schema.json") == Done(0, '{"files": 3}\n', "")
    sent = json.loads(runtime.wait_for(InvocationMessage).output_format_json_schema_str or "")
    assert sent["type"] == "json_schema"
    assert list(sent["schema"]["properties"]) == ["files"]
    assert sent["schema"]["additionalProperties"] is False


def test_a_result_is_printed_as_the_schema_has_it(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('{"type": "array", "items": {"type": "integer"}}')
    runtime = answering(scripted_runtime, result={"value": [1, 2]})
    assert cli("invoke", runtime.url, "Count", "--schema", tmp_path / "schema.json").out == "[1, 2]\n"
    done = cli("invoke", runtime.url, "Count", "--schema", tmp_path / "schema.json", "--json")
    assert json.loads(done.out.splitlines()[-1])["structured_output"] == [1, 2]


def test_a_result_that_does_not_fit_the_schema(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text(json.dumps(BARE))
    runtime = answering(scripted_runtime, result={"files": "s3cret"})
    done = cli("invoke", runtime.url, "Count", "--schema", tmp_path / "schema.json")
    told = "the result does not fit --schema: Expected `integer` at $.files"
    assert done == Done(3, "", f"runtimeuse-sync: {told}\n")
    done = cli("invoke", runtime.url, "Count", "--schema", tmp_path / "schema.json", "--json")
    error = {"event": "error", "type": "OutputValidationError", "message": told, "metadata": None}
    assert (done.code, json.loads(done.out.splitlines()[-1])) == (3, error)


def test_a_file_that_holds_no_schema(cli: Cli, tmp_path: Path) -> None:
    done = cli("invoke", "ws://127.0.0.1:1", "Count", "--schema", tmp_path / "schema.json")
    assert (done.code, done.out) == (2, "")
    assert "Invalid value for '--schema'" in done.err


# --- the URL of the environment -----------------------------------------------------------------------


def test_the_url_of_the_environment(cli: Cli, scripted_runtime: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = answering(scripted_runtime, result="42")
    monkeypatch.setenv("RUNTIMEUSE_URL", runtime.url)
    assert cli("invoke", "How many?") == Done(0, "42\n", "")
    assert runtime.wait_for(InvocationMessage).user_prompt == "How many?"


def test_a_url_that_is_given_goes_first(cli: Cli, scripted_runtime: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", "ws://127.0.0.1:1")
    assert cli("invoke", answering(scripted_runtime, result="42").url, "How many?").out == "42\n"


@pytest.mark.parametrize(
    ("words", "variable", "told"),
    [
        (("How many?",), "", "Missing argument 'URL'. RUNTIMEUSE_URL is not set either."),
        ((), "", "Missing argument 'PROMPT'."),
        (("ws://127.0.0.1:1",), "", "Missing argument 'PROMPT'."),
        (("wss://127.0.0.1:1",), "ws://127.0.0.1:1", "Missing argument 'PROMPT'."),
        (("localhost:8080", "How many?"), "", "URL must begin with ws://, wss://, http:// or https://"),
        (("How many?",), "localhost:8080", "RUNTIMEUSE_URL must begin with ws://, wss://, http:// or https://"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], variable: str, told: str
) -> None:
    monkeypatch.setenv("RUNTIMEUSE_URL", variable)
    done = cli("invoke", *words)
    assert (done.code, done.out) == (2, "")
    assert f"Error: {told}" in done.err
    assert "ws_url" not in done.err


@pytest.mark.parametrize(
    "options",
    [
        ("--secret-env", "NOT_SET_ANYWHERE"),
        ("--secret-env", "SET_BUT_EMPTY"),
        ("-e", "=value"),
        ("--header-env", "X-Token=NOT_SET_ANYWHERE"),
        ("--artifacts-dir", "/out"),
        ("--save-to", "somewhere"),
        ("--artifacts-dir", "/out", "--save-to", "/"),
        ("--artifacts-dir", "/out", "--save-to", "somewhere", "--max-artifact-size", "0"),
    ],
)
def test_wrong_usage(cli: Cli, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    monkeypatch.setenv("SET_BUT_EMPTY", "")
    done = cli("invoke", "ws://127.0.0.1:1", "Count", *options)
    assert (done.code, done.out) == (2, "")
    assert "Usage: runtimeuse-sync invoke" in done.err


# --- authentication -----------------------------------------------------------------------------------


def test_token_and_headers(cli: Cli, scripted_runtime: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HEADER", "other-s3cret")
    runtime = answering(scripted_runtime, result="fine")
    done = cli("invoke", runtime.url, "x", "--token", "s3cret", "--header-env", "X-Access-Token=MY_HEADER")
    headers = runtime.connections[0].request_headers
    assert (headers["Authorization"], headers["X-Access-Token"]) == ("Bearer s3cret", "other-s3cret")
    assert done == Done(0, "fine\n", "")


def test_a_token_from_the_environment(cli: Cli, local_runtime: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIMEUSE_TOKEN", "s3cret")
    assert cli("invoke", local_runtime(lambda *_: "fine", token="s3cret").url, "x").out == "fine\n"


def test_a_wrong_token_is_told_but_not_shown(cli: Cli, local_runtime: Local) -> None:
    done = cli("invoke", local_runtime(lambda *_: "fine", token="s3cret").url, "x", "--token", "wr0ng")
    assert (done.code, done.out) == (1, "")
    assert "401" in done.err
    assert "wr0ng" not in done.err


# --- failures -----------------------------------------------------------------------------------------


def test_an_error_of_the_runtime_with_what_it_sent_along(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime, error="out of credit", metadata={"exit_code": 1, "stderr": "no money"})
    told = "runtimeuse-sync: out of credit\n  exit_code: 1\n  stderr: no money\n"
    assert cli("invoke", runtime.url, "x") == Done(1, "", told)


def test_an_error_after_the_result_does_not_take_it_away(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> None:
    runtime = scripted_runtime(generation("0.9", Reply(result="42", post_agent_error="no space")))
    options = ("--artifacts-dir", "/out", "--save-to", tmp_path)
    assert cli("invoke", runtime.url, "x", *options) == Done(1, "42\n", "runtimeuse-sync: no space\n")


def test_what_the_library_warns_of_is_said(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime, messages=[{"message_type": "novelty_message"}], result="42")
    done = cli("invoke", runtime.url, "x")
    assert done == Done(0, "42\n", "runtimeuse-sync: skipping messages of the unknown type 'novelty_message'\n")


def test_ctrl_c_cancels_the_run(start: Start, scripted_runtime: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage, timeout=20)
        peer.send(AssistantMessageInterface(text_blocks=["working"]))
        peer.expect(CancelMessage, timeout=20)

    process = start("invoke", scripted_runtime(script).url, "x", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "assistant"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert json.loads(out) == {
        "event": "error",
        "type": "KeyboardInterrupt",
        "message": "interrupted",
        "metadata": None,
    }


def test_a_pipe_gets_no_escape_sequences_even_if_colours_are_forced(run: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime, messages=MESSAGES, result="42 süß")
    done = run("invoke", runtime.url, "x", command=["env", "FORCE_COLOR=1", "PYTHONIOENCODING=ascii", *COMMAND])
    # What an encoding has no character for is no reason to fail.
    assert (done.code, done.out) == (0, "42 s??\n")
    assert "\x1b" not in done.err


# --- JSON ---------------------------------------------------------------------------------------------


def test_json(cli: Cli, scripted_runtime: Scripted) -> None:
    runtime = answering(scripted_runtime, messages=MESSAGES[2:], result="ä", metadata={"cost": 1})
    done = cli("invoke", runtime.url, "x", "--json")
    assert (done.code, done.err) == (0, "")
    assert [json.loads(line) for line in done.out.splitlines()] == [
        {"event": "output", "stream": "stdout", "text": "o\nthree", "command": "ls"},
        {"event": "heartbeat", "phase": "agent", "elapsed_ms": 15000},
        {"event": "assistant", "text_blocks": ["Done.\n"]},
        {"event": "result", "text": "ä", "structured_output": None, "metadata": {"cost": 1}},
    ]


def test_json_of_a_structured_result(cli: Cli, local_runtime: Local) -> None:
    runtime = local_runtime(lambda *_: HandlerResult({"files": 3}))
    done = cli("invoke", runtime.url, "x", "--json")
    expected = {"event": "result", "text": None, "structured_output": {"files": 3}, "metadata": None}
    assert json.loads(done.out) == expected


def test_json_of_an_error(cli: Cli, scripted_runtime: Scripted) -> None:
    done = cli("invoke", answering(scripted_runtime, error="out of credit", metadata={"code": 7}).url, "x", "--json")
    assert (done.code, done.err) == (1, "")
    expected = {"event": "error", "type": "AgentRuntimeError", "message": "out of credit", "metadata": {"code": 7}}
    assert json.loads(done.out) == expected


def test_a_number_that_json_has_not_is_a_string(cli: Cli, scripted_runtime: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        data = '{"type": "structured_output", "structured_output": {"x": [1e999, -1e999, "NaN"]}}'
        peer.send_text(f'{{"message_type": "result_message", "data": {data}, "metadata": {{"cost": 1e999}}}}')

    def refuse(word: str) -> None:
        pytest.fail(f"{word} is not JSON")

    url = scripted_runtime(script).url
    event = json.loads(cli("invoke", url, "x", "--json").out, parse_constant=refuse)
    assert event["structured_output"] == {"x": ["Infinity", "-Infinity", "NaN"]}
    assert event["metadata"] == {"cost": "Infinity"}
    assert json.loads(cli("invoke", url, "x").out, parse_constant=refuse) == event["structured_output"]


# --- artifacts ----------------------------------------------------------------------------------------


def test_artifacts(cli: Cli, local_runtime: Local, tmp_path: Path) -> None:
    one, two, saved = tmp_path / "one", tmp_path / "two", tmp_path / "saved"

    def handler(*_: object) -> str:
        for folder in (one, two):
            folder.mkdir()
            (folder / "a.txt").write_text(folder.name)
        return "drawn"

    runtime = local_runtime(handler, settle_seconds=0.1)
    done = cli("invoke", runtime.url, "x", "--artifacts-dir", one, "--artifacts-dir", two, "--save-to", saved)
    assert (done.code, done.out) == (0, "drawn\n")
    assert sorted(path.read_text() for path in saved.iterdir()) == ["one", "two"]
    assert sorted(done.err.splitlines()) == sorted(f"saved {path}" for path in saved.iterdir())


def offering(filename: str) -> Callable[[Peer], None]:
    """A runtime that offers a file, and never uploads it."""

    def script(peer: Peer) -> None:
        peer.expect(InvocationMessage)
        peer.send(ArtifactUploadRequestMessageInterface(filename=filename, filepath=f"/out/{filename}"))
        if isinstance(peer.receive(), ArtifactUploadResponseMessageInterface):
            peer.send(text_result("42"))
            peer.expect(EndSessionMessage)

    return script


def test_an_artifact_that_does_not_arrive_is_a_failure(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> None:
    runtime = scripted_runtime(offering("a.txt"))
    done = cli("invoke", runtime.url, "x", "--artifacts-dir", "/out", "--save-to", tmp_path / "saved")
    assert (done.code, done.out) == (1, "42\n")
    assert "1 artifact(s) did not arrive" in done.err
    assert "none may be larger than 1024 MiB (--max-artifact-size)" in done.err


def test_a_folder_with_files_in_it_is_left_alone_unless_told_otherwise(
    cli: Cli, local_runtime: Local, tmp_path: Path
) -> None:
    out, saved = tmp_path / "out", tmp_path / "saved"
    for folder in (out, saved):
        folder.mkdir()
    (saved / "Makefile").write_text("all:")
    (out / "Makefile").write_text("evil:")
    url = local_runtime(lambda *_: "done", settle_seconds=0.1).url
    options = ("--artifacts-dir", out, "--save-to", saved)
    done = cli("invoke", url, "x", *options)
    assert (done.code, done.out, (saved / "Makefile").read_text()) == (2, "", "all:")
    assert f"{saved} is not empty: take another folder, or --overwrite to replace files" in done.err
    assert cli("invoke", url, "x", *options, "--overwrite").code == 0
    assert (saved / "Makefile").read_text() == "evil:"


def test_an_artifact_that_is_too_large_is_not_saved(cli: Cli, local_runtime: Local, tmp_path: Path) -> None:
    out, saved = tmp_path / "out", tmp_path / "saved"
    out.mkdir()
    (out / "fits").write_bytes(b"x" * 2**20)
    (out / "large").write_bytes(b"x" * (2**20 + 1))
    url = local_runtime(lambda *_: "done", settle_seconds=0.1).url
    done = cli("invoke", url, "x", "--artifacts-dir", out, "--save-to", saved, "--max-artifact-size", 1)
    assert (done.code, done.out) == (1, "done\n")
    # Python 3.13 has another phrase for it than those before.
    assert f"413 {HTTPStatus(413).phrase}\n  filename: large\n" in done.err
    assert [path.name for path in saved.iterdir()] == ["fits"]


def test_an_artifact_with_a_hostile_name_ends_the_run(cli: Cli, scripted_runtime: Scripted, tmp_path: Path) -> None:
    runtime = scripted_runtime(offering("../a.txt"))
    done = cli("invoke", runtime.url, "x", "--artifacts-dir", "/out", "--save-to", tmp_path / "saved")
    assert (done.code, done.out) == (1, "")
    assert "leads out of the folder" in done.err
    assert not (tmp_path / "a.txt").exists()


def test_a_folder_that_cannot_be_made(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "saved"
    done = cli("invoke", "ws://127.0.0.1:1", "x", "--artifacts-dir", "/out", "--save-to", folder)
    assert done == Done(1, "", f"runtimeuse-sync: {folder}: Not a directory\n")
