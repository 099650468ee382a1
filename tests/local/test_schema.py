from __future__ import annotations

import pytest

from runtimeuse_sync.local._server.schema import check_schema

from .test_session import StartPeer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Unexpected end of JSON input"),
        ('{"type": ', "Unexpected end of JSON input"),
        ("<schema>", "Unexpected token '<', \"<schema>\" is not valid JSON"),
        ("<" * 40, "Unexpected token '<', \"<<<<<<<<<<\"... is not valid JSON"),
        ('{"type": "json_schema", "x": oh no}', 'Unexpected token \'o\', ..."ma", "x": oh no}" is not valid JSON'),
        ("{} x" + 40 * "y", "Unexpected non-whitespace character after JSON at position 3"),
        ('{"type" 1}', "Expected ':' after property name in JSON at position 8"),
        ('{"type": "json_schema", oh no}', "Expected double-quoted property name in JSON at position 24"),
        ("[" * 100_000, "the output schema is too large to be read as JSON"),
    ],
)
def test_what_is_no_json_is_an_error_in_the_real_runtime_s_words(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are what counts
        check_schema(text)
    assert str(caught.value) == words


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"type": "object"}', '{"type": "json_schema", "schema": {}}'])
def test_what_is_json_is_taken_in_silence(start_peer: StartPeer, text: str) -> None:
    answer = start_peer().invoke("done", output_format_json_schema_str=text)[-1]
    assert answer["data"] == {"type": "text", "text": "done"}


def test_a_request_with_a_broken_schema_fails_before_anything_is_run(start_peer: StartPeer) -> None:
    peer = start_peer()
    heard = peer.invoke(output_format_json_schema_str="nope", pre_agent_invocation_commands=[{"command": "echo never"}])
    assert heard == [
        {"message_type": "error_message", "error": "Unexpected token 'n', \"nope\" is not valid JSON"},
    ]
    assert peer.is_served()
