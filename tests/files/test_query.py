"""A query that brings its input and takes its output."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync import (
    AgentRuntimeError,
    CancelledException,
    Client,
    CommandExecutionMessage,
    InvocationMessage,
    InvocationTimeoutError,
    OutputValidationError,
    QueryOptions,
    TextResult,
)
from runtimeuse_sync.files import DownloadFailedError, SandboxError
from runtimeuse_sync.local import LocalRuntime, Sender
from runtimeuse_sync.testing import Reply, ScriptedRuntime, generation


def agent(invocation: InvocationMessage, sender: Sender) -> Any:
    """Counts what it finds, and leaves that; the prompt says where."""
    if invocation.user_prompt == "fail":
        raise RuntimeError("out of memory")
    if invocation.output_format_json_schema_str:
        return {"value": "three"}
    folder = Path(invocation.user_prompt)
    (folder / "out").mkdir()
    (folder / "out" / "count.txt").write_text(str(len(os.listdir(folder / "in"))))
    return "counted"


@pytest.fixture
def client() -> Iterator[Client]:
    with LocalRuntime(agent) as runtime:
        yield Client(runtime.url)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder of this side."""
    for name in ("a b", "-n", "line\nbreak"):
        (tmp_path / "here" / "src").mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / "src" / name).write_text(name)
    (tmp_path / "there").mkdir()
    return tmp_path / "here"


@pytest.fixture
def options(tmp_path: Path, here: Path) -> dict[str, Any]:
    there = tmp_path / "there"
    return {"uploads": {f"{there}/in": here / "src"}, "downloads": {f"{there}/out": f"{here}/out"}, "timeout": 60}


def in_a_session(client: Client, *args: Any, **keywords: Any) -> Any:
    with client.session() as session:
        return session.query(*args, **keywords)


@pytest.mark.parametrize("query", [Client.query, in_a_session])
def test_one_call_brings_its_input_and_takes_its_output(
    client: Client, tmp_path: Path, here: Path, options: dict[str, Any], query: Callable[..., Any]
) -> None:
    assert query(client, f"{tmp_path}/there", **options).output == "counted"
    assert (here / "out" / "count.txt").read_text() == "3"
    assert (tmp_path / "there" / "in" / "line\nbreak").read_text() == "line\nbreak"


def test_as_options_and_defaults(client: Client, tmp_path: Path, here: Path, options: dict[str, Any]) -> None:
    brings = client.with_options(uploads=options["uploads"])
    brings.query(f"{tmp_path}/there", downloads=options["downloads"])
    assert (here / "out" / "count.txt").exists()


@pytest.mark.parametrize(
    ("prompt", "more", "error"),
    [("fail", {}, AgentRuntimeError), ("answer", {"output_type": list[int]}, OutputValidationError)],
)
def test_where_the_agent_fails_nothing_is_downloaded(
    client: Client, tmp_path: Path, here: Path, options: dict[str, Any], prompt: str, more: Any, error: Any
) -> None:
    with pytest.raises(error):
        client.query(prompt, **options, **more)
    assert (tmp_path / "there" / "in").exists()
    assert os.listdir(here) == ["src"]


def test_what_cannot_be_downloaded_does_not_cost_the_answer(
    client: Client, tmp_path: Path, here: Path, options: dict[str, Any]
) -> None:
    options["downloads"] = {**options["downloads"], "/nothing\nhere": "nothing"}
    with pytest.raises(DownloadFailedError, match="but /nothing here could not be downloaded$") as caught:
        client.query(f"{tmp_path}/there", **options)
    error = caught.value
    assert (error.path, error.result.data) == ("/nothing\nhere", TextResult(text="counted"))
    assert isinstance(error.__cause__, SandboxError)
    assert (here / "out" / "count.txt").exists()
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path, again.result) == (str(error), error.path, error.result)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"uploads": {"/srv/src": "nothing here"}}, FileNotFoundError, "nothing here"),
        ({"uploads": {"src": "."}}, ValueError, "uploads must have absolute paths in the sandbox"),
        ({"uploads": ["/srv/src"]}, TypeError, "uploads must be a dict .* got a list"),
        ({"downloads": {"/srv/out": 5}}, TypeError, "downloads must be a dict .* holds a int"),
        ({"downloads": {Path("/srv/out"): "out"}}, TypeError, "downloads must be a dict"),
        ({"uploads": {"/srv/src": "."}, "output_type": complex}, TypeError, "output_type cannot"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(more: Any, error: Any, said: str) -> None:
    with ScriptedRuntime(refuse=503) as runtime:
        with pytest.raises(error, match=said):
            Client(runtime.url).query("Count.", **more)
        with pytest.raises(TypeError, match="prompt must be"):
            Client(runtime.url).query(5, uploads={"/srv/src": "."})  # type: ignore[call-overload]
        with pytest.raises(ValueError, match=r"are for query\(\)"):
            Client(runtime.url).stream("Count.", downloads={"/srv/out": "out"})
        assert runtime.connections == []


def test_the_timeout_is_for_all_of_it() -> None:
    with ScriptedRuntime(generation("0.15", Reply(hangs=True))) as runtime:
        with pytest.raises(InvocationTimeoutError, match=r"0\.3 s"):
            Client(runtime.url).query("Count.", uploads={"/srv/x": __file__}, timeout=0.3)


def test_a_cancelled_upload_is_the_end_of_it() -> None:
    with ScriptedRuntime(generation("0.15", Reply(hangs=True))) as runtime:

        def is_cancelled() -> bool:
            return any(isinstance(message, CommandExecutionMessage) for message in runtime.received)

        with pytest.raises(CancelledException):
            options = QueryOptions(uploads={"/srv/x": __file__}, is_cancelled=is_cancelled)
            Client(runtime.url, cancel_poll_interval=0.05).query("Count.", options)
    assert not any(isinstance(message, InvocationMessage) for message in runtime.received)
