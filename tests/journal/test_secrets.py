"""What is never written, wherever a runtime says it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtimeuse_sync import Client, CommandInterface, RuntimeEnvironmentDownloadableInterface
from runtimeuse_sync.journal import load, record
from runtimeuse_sync.journal._secrets import without_queries
from runtimeuse_sync.testing import Peer, ScriptedRuntime

from ..support import invocation

# No secret is one of the wire's own words, or a part of one, or of what the test itself writes.
texts = st.text(st.characters(min_codepoint=33, blacklist_categories=("Cs", "Lu", "Ll", "Nd")), min_size=6, max_size=12)
queries = st.from_regex(r"\A[xyz]{6,9}=[XYZ%$'()*,;:@+]{6,12}\Z")


def strings(value: Any) -> list[str]:
    """Every string of a JSON value, keys among them."""
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def journal_of(path: Path, secret: str, env: str, query: str, header: str) -> str:
    """All that a call writes whose runtime says again whatever it knows, in every place that there is."""
    url = f"https://bucket.example.com/a?{query}"
    known = [secret, env, query, url, header]
    echo = "<" + "> <".join([*known, *known]) + ">"

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send({"message_type": "assistant_message", "text_blocks": [echo, "harmless"]})
        peer.send({"message_type": "command_output_message", "stream": echo, "text": echo, "command": echo})
        peer.send({"message_type": "heartbeat_message", "phase": echo, "elapsed_ms": 5})
        peer.send({"message_type": secret})
        peer.send({"message_type": "artifact_upload_request_message", "filename": echo, "filepath": echo})
        peer.send({"message_type": "error_message", "error": echo, "metadata": {echo: [echo, {echo: echo}]}})
        output = {"type": "structured_output", "structured_output": {echo: [{echo: echo}]}}
        peer.send({"message_type": "result_message", "data": output, "metadata": {echo: echo}, echo: echo})

    request = invocation(
        user_prompt=echo,
        system_prompt=echo,
        source_id=echo,
        secrets_to_redact=[secret],
        agent_env={"TOKEN": env},
        pre_agent_invocation_commands=[CommandInterface(echo, env={"TOKEN": env}, cwd=echo)],
        pre_agent_downloadables=[RuntimeEnvironmentDownloadableInterface(download_url=url, working_dir="/")],
        artifacts_dirs=["/out"],
    )
    path.unlink(missing_ok=True)
    with ScriptedRuntime(script) as runtime:
        client = Client(f"{runtime.url}/?token={header}", headers={"X-Token": "abcdefgh"})
        with record(client, path) as recorded:
            recorded.invoke(
                request, on_artifact_upload_request=lambda _: (url, "text/plain"), on_error_message=lambda _: True
            )
    return path.read_text("ascii")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(secret=texts, env=texts, query=queries, header=st.from_regex(r"\A[xyz]{9,12}\Z"))
def test_no_secret_is_written(tmp_path: Path, secret: str, env: str, query: str, header: str) -> None:
    journal = journal_of(tmp_path / "j", secret, env, query, header)
    lines = [json.loads(line) for line in journal.splitlines()]
    assert [line["event"] for line in lines].count("received") == 7
    said = strings(lines)
    for what in (secret, env, query, header, "?" + query):
        assert not any(what in text for text in said), what
    assert "harmless" in said


def test_the_error_of_a_call_is_written_without_them(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.send({"message_type": "error_message", "error": "no s3cret", "metadata": {"a": "https://x/?sig=12345678"}})

    with ScriptedRuntime(script) as runtime, record(Client(runtime.url), tmp_path / "j") as client:
        with pytest.raises(Exception, match="no "):
            client.invoke(invocation(agent_env={"A": "s3cret"}))
    assert "s3cret" not in (tmp_path / "j").read_text()
    assert "12345678" not in (tmp_path / "j").read_text()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://a/b?c=d e", "https://a/b?[REDACTED] e"),
        ("wss://user:pw@a/b", "wss://[REDACTED]@a/b"),
        ("https://user:p@w@a/b?c", "https://[REDACTED]@a/b?[REDACTED]"),
        ("https://a/b?é=\\ü&x\n", "https://a/b?[REDACTED]\n"),
        ("see <https://a/b?c=d>", "see <https://a/b?[REDACTED]>"),
        ("is it a://b? yes", "is it a://b? yes"),
        ("https://a/b?c#d https://e?f", "https://a/b?[REDACTED] https://e?[REDACTED]"),
        ("no URL? none@all", "no URL? none@all"),
    ],
)
def test_queries_and_users_of_urls(text: str, clean: str) -> None:
    assert json.loads(without_queries(json.dumps(text))) == clean


def test_secrets_that_are_the_wires_own_words_break_nothing(tmp_path: Path) -> None:
    words = ["result_message", "message_type", "data", "text", "type", "stdout", "structured_output", "0"]

    def script(peer: Peer) -> None:
        peer.receive()
        peer.send({"message_type": "command_output_message", "stream": "stdout", "text": "text", "command": "c"})
        peer.send({"message_type": "result_message", "data": {"type": "text", "text": "the data"}})

    with ScriptedRuntime(script) as runtime, record(Client(runtime.url), tmp_path / "j") as client:
        client.invoke(invocation(secrets_to_redact=words))
    [run] = load(tmp_path / "j")
    assert run.messages[0].text == "[REDACTED]"
    assert run.messages[0].stream == "stdout"
    assert run.result is not None
    assert run.result.text == "the [REDACTED]"  # type: ignore[union-attr]
