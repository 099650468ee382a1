"""The asyncio client 0.15, as published, against our runtime: it must not be able to tell it from the real one.

Needs Python 3.11 and ``runtimeuse-client==0.15.1``.
"""

from __future__ import annotations

import asyncio
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

import pytest

from runtimeuse_sync.local import ArtifactReceiver, CommandLineAgent, HandlerResult, LocalRuntime

peer = pytest.importorskip("runtimeuse_client")

# Seconds: far more than anything here takes.
PATIENCE = 20

SECRET = "s3cret"


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Starts a runtime and gives a client of it."""
    with ExitStack() as stack:

        def start(handler: Any = lambda invocation, sender: invocation.user_prompt, **options: Any) -> Any:
            runtime = stack.enter_context(LocalRuntime(handler, **{"settle_seconds": 0.2, **options}))
            return peer.RuntimeUseClient(ws_url=runtime.url)

        yield start


def options(**fields: Any) -> Any:
    return peer.QueryOptions(**{"system_prompt": "be brief", "model": "m", "timeout": PATIENCE, **fields})


def command_options(**fields: Any) -> Any:
    return peer.ExecuteCommandsOptions(**{"timeout": PATIENCE, **fields})


def command(text: str, **fields: Any) -> Any:
    return peer.CommandInterface(command=text, **fields)


class Collected(list[Any]):
    """An async callback that keeps what it gets."""

    async def __call__(self, message: Any) -> None:
        self.append(message)


def test_a_text_query(start: Callable[..., Any]) -> None:
    def handler(invocation: Any, sender: Any) -> Any:
        return HandlerResult(
            f"{invocation.system_prompt}/{invocation.model}/{invocation.user_prompt}", metadata={"c": 1}
        )

    result = asyncio.run(start(handler).query("hello", options()))
    assert result.data == peer.TextResult(type="text", text="be brief/m/hello")
    assert result.metadata == {"c": 1}


def test_a_structured_query(start: Callable[..., Any]) -> None:
    def handler(invocation: Any, sender: Any) -> Any:
        return {"schema": invocation.output_format_json_schema_str, "env": invocation.agent_env}

    schema = '{"type": "json_schema", "schema": {"type": "object"}}'
    query = start(handler).query("", options(output_format_json_schema_str=schema, agent_env={"A": "b"}))
    assert asyncio.run(query).data.structured_output == {"schema": schema, "env": {"A": "b"}}


def test_streamed_messages(start: Callable[..., Any]) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        for n in range(100):
            sender.assistant(f"{n}", "second block")
        return "done"

    said = Collected()
    asyncio.run(start(handler).query("", options(on_assistant_message=said)))
    assert [m.text_blocks for m in said] == [[f"{n}", "second block"] for n in range(100)]


def test_a_command_line_agent(start: Callable[..., Any]) -> None:
    said = Collected()
    result = asyncio.run(start(CommandLineAgent("cat")).query("one\ntwo", options(on_assistant_message=said)))
    assert [block for m in said for block in m.text_blocks] == ["one", "two"]
    assert result.data.text == "two"


def test_commands(start: Callable[..., Any], tmp_path: Path) -> None:
    output = Collected()
    commands = [command("pwd", cwd=str(tmp_path)), command('echo "$N"; echo oops >&2', env={"N": "42"})]
    result = asyncio.run(start().execute_commands(commands, command_options(on_command_output=output)))
    assert [(r.exit_code, r.stdout) for r in result.results] == [(0, f"{tmp_path}\n"), (0, "42\n")]
    assert sorted((m.stream, m.text) for m in output) == [
        ("stderr", "oops\n"),
        ("stdout", f"{tmp_path}\n"),
        ("stdout", "42\n"),
    ]


def test_a_failing_command(start: Callable[..., Any], tmp_path: Path) -> None:
    """Its README promises an exception; it returns the exit codes that it gets."""
    commands = [command("echo one"), command("exit 7"), command(f"touch {tmp_path}/never")]
    output = Collected()
    result = asyncio.run(start().execute_commands(commands, command_options(on_command_output=output)))
    assert [(r.exit_code, r.stdout) for r in result.results] == [(0, "one\n"), (7, "")]
    assert [m.text for m in output] == ["one\n"]
    assert list(tmp_path.iterdir()) == []


def test_commands_before_and_after(start: Callable[..., Any], tmp_path: Path) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        return (tmp_path / "before").read_text()

    output = Collected()
    result = asyncio.run(
        start(handler).query(
            "",
            options(
                pre_agent_invocation_commands=[command('echo "$N" > before', cwd=str(tmp_path), env={"N": "1"})],
                post_agent_invocation_commands=[command("cat before; echo $N", cwd=str(tmp_path), env={"N": "2"})],
                on_command_output=output,
            ),
        )
    )
    assert result.data.text == "1\n"
    assert "".join(m.text for m in output) == "1\n2\n"


@pytest.mark.parametrize("when", ["pre", "post"])
def test_a_failing_command_before_or_after(start: Callable[..., Any], when: str) -> None:
    query = start().query("", options(**{f"{when}_agent_invocation_commands": [command("exit 1")]}))
    with pytest.raises(peer.AgentRuntimeError, match=f"{when}-agent command failed with exit code: 1"):
        asyncio.run(query)


def test_downloads(start: Callable[..., Any], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("src/main.py", "print()")
    (tmp_path / "served").mkdir()
    (tmp_path / "served/src.zip").write_bytes(buffer.getvalue())
    (tmp_path / "served/notes.txt").write_text("a note")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *args: Any) -> None:
            pass

    work = tmp_path / "work"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        items = [
            peer.RuntimeEnvironmentDownloadableInterface(
                download_url=f"http://127.0.0.1:{server.server_port}/{name}", working_dir=str(work)
            )
            for name in ("src.zip", "notes.txt")
        ]
        list_all = [command("find . -type f | sort", cwd=str(work))]
        result = asyncio.run(start().execute_commands(list_all, command_options(pre_execution_downloadables=items)))
        asyncio.run(start().query("", options(pre_agent_downloadables=items)))
        server.shutdown()
        thread.join()
    assert result.results[0].stdout == "./notes.txt\n./src/main.py\n"


def test_artifacts_from_two_directories(start: Callable[..., Any], tmp_path: Path) -> None:
    """The agent stays until both have arrived: this client leaves at the result, whatever is still to come."""
    dirs = [tmp_path / "one", tmp_path / "two"]
    arrived = threading.Event()

    def handler(invocation: Any, sender: Any) -> str:
        for n, directory in enumerate(invocation.artifacts_dirs):
            (Path(directory) / "sub").mkdir(parents=True)
            # Whole from the first moment on: half a file that stays so for a while is taken for finished.
            (tmp_path / "draft").write_bytes(bytes(range(256)) * (n + 1) * 1000)
            (tmp_path / "draft").replace(Path(directory) / "sub" / f"{n}.bin")
            (Path(directory) / "left.out").write_text("")
        assert arrived.wait(PATIENCE)
        return "done"

    with ArtifactReceiver(tmp_path / "saved", roots=[str(d) for d in dirs]) as receiver:

        async def on_artifact(request: Any) -> Any:
            target = receiver(request)
            return peer.ArtifactUploadResult(presigned_url=target.presigned_url, content_type=target.content_type)

        async def query() -> None:
            client = start(handler)
            running = asyncio.create_task(
                client.query(
                    "",
                    options(
                        artifacts_dirs=[str(d) for d in dirs],
                        artifacts_ignore_content="*.out",
                        on_artifact_upload_request=on_artifact,
                    ),
                )
            )
            while len(receiver.saved) < 2 and not running.done():
                await asyncio.sleep(0.01)
            arrived.set()
            await running

        asyncio.run(query())
        saved = {str(Path(k).relative_to(tmp_path)): v.read_bytes() for k, v in receiver.saved.items()}
    assert saved == {
        "one/sub/0.bin": bytes(range(256)) * 1000,
        "two/sub/1.bin": bytes(range(256)) * 2000,
    }


def test_secrets(start: Callable[..., Any]) -> None:
    def handler(invocation: Any, sender: Any) -> Any:
        sender.assistant(f"says {SECRET}")
        if invocation.user_prompt == "fail":
            raise ValueError(f"fails {SECRET}")
        return HandlerResult({SECRET: [f"x{SECRET}x"]}, metadata={"m": SECRET})

    said, output = Collected(), Collected()
    fields = {
        "secrets_to_redact": [SECRET],
        "on_assistant_message": said,
        "on_command_output": output,
        "pre_agent_invocation_commands": [command(f"printf s3c; printf 'ret %s' {SECRET}")],
    }
    client = start(handler)
    result = asyncio.run(client.query("", options(**fields)))
    with pytest.raises(peer.AgentRuntimeError) as caught:
        asyncio.run(client.query("fail", options(**fields)))
    seen = repr((said, output, result, caught.value, caught.value.args, caught.value.metadata))
    assert SECRET not in seen
    assert result.data.structured_output == {"[REDACTED]": ["x[REDACTED]x"]}
    assert str(caught.value.error) == "fails [REDACTED]"
    assert "".join(m.text for m in output) == "[REDACTED] [REDACTED]" * 2


def test_cancellation(start: Callable[..., Any], tmp_path: Path) -> None:
    cancelled = threading.Event()

    def handler(invocation: Any, sender: Any) -> str:
        sender.assistant("begun")
        assert sender.cancelled.wait(PATIENCE)
        cancelled.set()
        return ""

    client = start(handler)

    async def on_assistant(message: Any) -> None:
        client.abort()

    with pytest.raises(peer.CancelledException):
        asyncio.run(client.query("", options(on_assistant_message=on_assistant)))
    assert cancelled.wait(PATIENCE)


def test_a_timeout(start: Callable[..., Any]) -> None:
    cancelled = threading.Event()

    def handler(invocation: Any, sender: Any) -> str:
        if sender.cancelled.wait(PATIENCE):
            cancelled.set()
        return ""

    with pytest.raises(TimeoutError):
        asyncio.run(start(handler).query("", options(timeout=1.5)))  # time enough to ask first
    assert cancelled.wait(PATIENCE)


def test_heartbeats_keep_an_idle_timeout_away(start: Callable[..., Any]) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        sender.cancelled.wait(2.0)
        return "slow"

    result = asyncio.run(start(handler, heartbeat_interval=0.1).query("", options(idle_timeout=1.5)))
    assert result.data.text == "slow"


def test_a_session_of_three_requests(start: Callable[..., Any], tmp_path: Path) -> None:
    async def requests(client: Any) -> list[Any]:
        async with client.session() as session:
            first = await session.query("one", options())
            second = await session.execute_commands([command("echo two")], command_options())
            third = await session.query("three", options())
            return [first.data.text, second.results[0].stdout, third.data.text]

    assert asyncio.run(requests(start())) == ["one", "two\n", "three"]


def test_a_session_goes_on_after_an_error_and_a_cancellation(start: Callable[..., Any]) -> None:
    def handler(invocation: Any, sender: Any) -> str:
        if invocation.user_prompt == "fail":
            raise ValueError("failed")
        if invocation.user_prompt == "hang":
            sender.assistant("hanging")
            sender.cancelled.wait(PATIENCE)
        return str(invocation.user_prompt)

    async def requests(client: Any) -> str:
        async with client.session() as session:

            async def on_assistant(message: Any) -> None:
                session.abort()

            with pytest.raises(peer.AgentRuntimeError, match="failed"):
                await session.query("fail", options())
            with pytest.raises(peer.CancelledException):
                await session.query("hang", options(on_assistant_message=on_assistant))
            last = await session.query("last", options())
            return str(last.data.text)

    assert asyncio.run(requests(start(handler))) == "last"


def test_artifacts_at_the_end_of_a_session(start: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with ArtifactReceiver(tmp_path / "saved") as receiver:

        async def on_artifact(request: Any) -> Any:
            target = receiver(request)
            return peer.ArtifactUploadResult(presigned_url=target.presigned_url, content_type=target.content_type)

        async def requests(client: Any) -> None:
            async with client.session() as session:
                await session.execute_commands(
                    [command(f"echo late > {tmp_path}/a.txt; mv {tmp_path}/a.txt {tmp_path}/out")],
                    command_options(artifacts_dirs=[str(tmp_path / "out")], on_artifact_upload_request=on_artifact),
                )

        asyncio.run(requests(start()))
        assert [path.read_text() for path in receiver.saved.values()] == ["late\n"]
