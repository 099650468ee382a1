"""Journals that nobody has written: torn, edited, of another version, nested, huge, binary."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from ..support import invocation

REQUEST = {**invocation().to_dict(), "source_id": "x"}
TYPES = [
    "assistant_message",
    "command_output_message",
    "heartbeat_message",
    "artifact_upload_request_message",
    "error_message",
    "result_message",
    "command_execution_result_message",
    "end_session_confirm_message",
    "invocation_message",
    "cancel_message",
    "unheard_of",
]

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
metadata = st.dictionaries(
    st.sampled_from(["usage", "num_turns", "total_cost_usd", "duration_ms", "x"]), plain, max_size=3
)
data = plain | st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "structured_output"]) | plain},
    optional={"text": st.text(max_size=5), "structured_output": metadata},
)
messages = st.fixed_dictionaries(
    {"message_type": st.sampled_from(TYPES) | plain},
    optional={
        "text_blocks": st.lists(st.text(max_size=5), max_size=2) | plain,
        "stream": st.text(max_size=5),
        "text": st.text(max_size=5) | plain,
        "command": st.text(max_size=5),
        "phase": st.text(max_size=5),
        "elapsed_ms": st.floats() | plain,
        "filename": st.text(max_size=5),
        "filepath": st.text(max_size=5),
        "error": st.text(max_size=5) | plain,
        "metadata": metadata | plain,
        "data": data,
        "structured_output": metadata | plain,
        "results": plain,
    },
)
requests = st.just(REQUEST) | messages | st.just({"message_type": "end_session_message"})
errors = plain | st.fixed_dictionaries(
    {
        "type": st.sampled_from(["AgentRuntimeError", "ConnectionLostError", "IdleTimeoutError", "ValueError", "X"])
        | plain
    },
    optional=dict.fromkeys(("text", "code", "reason", "timeout", "metadata", "status"), plain),
)


def dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    event = draw(st.sampled_from(["began", "connected", "sent", "received", "ended"]) | st.text(max_size=5))
    fields: dict[str, Any] = {
        "v": draw(st.just(1) | plain) if draw(st.integers(0, 9)) == 0 else 1,
        "call": draw(st.sampled_from("ab")),
        "event": event,
        "time": draw(st.floats(0, 1e9) | st.floats() | plain) if draw(st.integers(0, 9)) == 0 else 5.0,
        "clock": draw(st.floats(0, 100)),
    }
    if event in ("began", "sent", "received"):
        fields["message"] = draw(requests if event == "began" else messages)
    if event == "ended":
        fields["outcome"] = draw(st.sampled_from(["result", "error", "left"]) | plain)
        fields["error"] = draw(errors)
    return dumped(fields)


# What lines become in bad hands.
edits = st.sampled_from(
    [
        lambda line: line,
        lambda line: line,
        lambda line: line,
        lambda line: line[: len(line) // 2],
        lambda line: line.replace(b":", b";", 1),
        lambda line: line.replace(b'"v":1', b'"v":2'),
        lambda line: line[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        lambda line: line[:-1] + b',"x":' + b"9" * 5000 + b"}",
        lambda line: line + line,
        lambda line: b"\xff\xfe" + line,
        lambda line: line.replace(b'"', b"\x00"),
        lambda line: b"",
    ]
)


@st.composite
def journals(draw: st.DrawFn) -> bytes:
    """Up to six lines, mostly such as a journal could have, beginning mostly with a call's beginning."""
    first = dumped({"v": 1, "call": "a", "event": "began", "time": 1.0, "clock": 1.0, "message": REQUEST})
    parts = [first] if draw(st.integers(0, 3)) else []
    parts += [draw(edits)(line) for line in draw(st.lists(lines(), max_size=5))]
    end = draw(st.sampled_from([b"\n", b"\n", b"", b"\r\n"]))
    return b"\n".join(parts) + end
