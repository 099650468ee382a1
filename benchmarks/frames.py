"""What the benchmark's server sends: messages as a JavaScript runtime writes them, in frames, made beforehand."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from functools import lru_cache
from typing import Any

import attrs

# So many different messages are prepared, and sent over and over: enough to keep any cache honest.
_DISTINCT = 1000
_BLOCK_SIZE = 8 * 1024 * 1024

_PLAIN = "ok 12 - tests/unit/session.test.ts (31 ms)\n    at Object.<anonymous> (/srv/app/src/index.ts:117:9)\n"
_FOREIGN = (
    "Die Prüfung läuft, 3 von 40 Dateien sind schon grün. 次に設定を読み込みます。 Voilà, tout est déjà terminé 🎉\n"
)


def frame(payload: bytes, opcode: int = 1) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def output_message(text: str) -> dict[str, Any]:
    return {"message_type": "command_output_message", "stream": "stdout", "text": text, "command": "make"}


def assistant_message(text: str) -> dict[str, Any]:
    return {"message_type": "assistant_message", "text_blocks": [text]}


def result_message(text: str, metadata: dict[str, Any]) -> dict[str, Any]:
    return {"message_type": "result_message", "data": {"type": "text", "text": text}, "metadata": metadata}


def artifact_request(number: int) -> dict[str, Any]:
    name = f"report-{number}.csv"
    return {"message_type": "artifact_upload_request_message", "filename": name, "filepath": f"/srv/app/out/{name}"}


def error_message(error: str) -> dict[str, Any]:
    return {"message_type": "error_message", "error": error, "metadata": {}}


# kind -> how to make a message of a text, and what to fill the text with
_KINDS = {"output": (output_message, _PLAIN), "assistant": (assistant_message, _FOREIGN)}


def make_text(pattern: str, size: int, number: int) -> str:
    """A text that takes about ``size`` bytes in JSON, and is a different one for each ``number``."""
    width = len(json.dumps(pattern, ensure_ascii=False).encode()) - 2
    text = f"{number:03d} " + pattern * (size // width + 2)
    # In proportion: bytes and characters are not the same. Lengths differ, so that they can tell texts apart.
    return text[: max(3, size * len(pattern) // width + number % 17 - 8)]


@attrs.frozen
class Burst:
    """``count`` messages, ready to be sent: ``block`` a number of times, and then ``rest``."""

    count: int
    checksum: int
    lengths: int
    block: bytes = attrs.field(repr=False)
    times: int
    rest: bytes = attrs.field(repr=False)


@lru_cache(maxsize=4)
def burst(kind: str, count: int, size: int) -> Burst:
    """``count`` messages of about ``size`` bytes of JSON each."""
    make, pattern = _KINDS[kind]
    room = max(3, size - len(dump(make(""))))
    distinct = max(1, min(_DISTINCT, count, _BLOCK_SIZE // size))
    texts = [make_text(pattern, room, number) for number in range(distinct)]
    frames = [frame(dump(make(text))) for text in texts]
    times, left = divmod(count, distinct)
    return Burst(
        count=count,
        checksum=checksum(itertools.islice(itertools.cycle(texts), count)),
        lengths=checksum(str(len(text)) for text in itertools.islice(itertools.cycle(texts), count)),
        block=b"".join(frames),
        times=times,
        rest=b"".join(frames[:left]),
    )


def checksum(texts: Any) -> int:
    """Of all texts, in their order."""
    value = 0
    for text in texts:
        value = zlib.crc32(text.encode(), value)
    return value
