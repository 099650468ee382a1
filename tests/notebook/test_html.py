"""What a notebook shows of a value."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any, Callable, Optional

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimeuse_sync import (
    ArtifactUploadResult,
    AssistantMessageInterface,
    Client,
    CommandExecutionResult,
    CommandInterface,
    CommandResultItem,
    CompletedCommand,
    InvocationMessage,
    QueryResult,
    ResultMessageInterface,
    RuntimeEnvironmentDownloadableInterface,
    StructuredOutputResult,
    TextResult,
    Usage,
)

TAGS = {"table", "caption", "tr", "th", "td", "pre", "details", "summary"}


class Page(HTMLParser):
    """What a browser makes of it: the elements, and the words."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.words = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, Optional[str]]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attributes)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def page(value: Any) -> Page:
    found = Page(value._repr_html_())
    assert found.tags <= TAGS
    assert found.attributes <= {"style"}
    assert found.open == []
    return found


def test_a_result_shows_its_text() -> None:
    words = page(QueryResult(data=TextResult(text="4 files"), metadata={"num_turns": 2})).words
    assert re.fullmatch(r'QueryResulttext4 filesmetadata{\s+"num_turns": 2\s+}', words)


def test_a_structured_result_shows_json() -> None:
    assert (
        '"files": 3' in page(ResultMessageInterface(data=StructuredOutputResult(structured_output={"files": 3}))).words
    )


def test_fields_of_ones_own_are_shown() -> None:
    @attrs.define(kw_only=True)
    class Scored(ResultMessageInterface):  # type: ignore[type-arg]
        score: float = 0.0
        token: str = attrs.field(default="s3cret", repr=False)

    words = page(Scored(data=TextResult(text="fine"), score=0.5)).words
    assert "score0.5" in words
    assert "s3cret" not in words


def test_commands_show_what_they_printed() -> None:
    items = [
        CommandResultItem(command="make", exit_code=2, stdout="a < b\n"),
        CommandResultItem(command="x", exit_code=0),
    ]
    assert page(CommandExecutionResult(results=items)).words.count("exit_code") == 2
    done = CompletedCommand(command="make", exit_code=2, stdout="a < b", stderr="No rule", duration=0.5)
    assert page(done).words == "CompletedCommandcommandmakeexit_code2stdouta < bstderrNo ruleduration0.5"


def test_usage_shows_what_was_told() -> None:
    assert page(Usage(turns=2)).words == "Usageturns2"


@pytest.mark.parametrize(
    "value",
    [
        CommandInterface("make", env={"TOKEN": "s3cret"}),
        RuntimeEnvironmentDownloadableInterface(download_url="https://x/?sig=s3cret", working_dir="/src"),
        ArtifactUploadResult(presigned_url="https://x/?sig=s3cret", content_type="text/plain"),
        InvocationMessage(
            system_prompt="",
            user_prompt="hi",
            agent_env={"TOKEN": "s3cret"},
            secrets_to_redact=["s3cret"],
            pre_agent_invocation_commands=[CommandInterface("make", env={"TOKEN": "s3cret"})],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_secrets_stay_out_as_they_stay_out_of_repr(value: Any) -> None:
    assert "s3cret" not in page(value).words


@given(
    words=st.text()
    | st.sampled_from(["<script>alert(1)</script>", "</pre><img src=x onerror=alert(1)>", "\x1b[2J\x9b"])
)
def test_what_came_is_text(words: str) -> None:
    shown = page(AssistantMessageInterface(text_blocks=[words])).words
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    shown = page(ResultMessageInterface(data=TextResult(text=words), metadata={words: words})).words
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)


def test_what_is_long_is_folded_and_what_is_very_long_is_cut() -> None:
    short, long, endless = (QueryResult(data=TextResult(text="line\n" * lines)) for lines in (3, 300, 300_000))
    assert "details" not in page(short).tags
    assert "301 lines, 1500 characters" in page(long).words
    assert page(endless).words.endswith("more characters")
    assert len(endless._repr_html_()) < 110_000


def test_a_run_shows_its_state_its_request_and_its_result(local_runtime: Callable[..., Any]) -> None:
    client = Client(local_runtime(lambda invocation, sender: "<done>").url)
    run = client.stream("Look.", system_prompt="", agent_env={"TOKEN": "s3cret"})
    assert page(run).words.startswith("Run: not enteredrequest")
    with run:
        assert page(run).words.startswith("Run: running")
        list(run)
    words = page(run).words
    assert "user_promptLook." in words
    assert "text<done>" in words
    assert "s3cret" not in words
