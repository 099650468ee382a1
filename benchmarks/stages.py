"""``python -m benchmarks.stages``: where the time of a message goes, by stage, on one thread.

What is missing from the sum is what two threads cost each other: the interpreter's lock, and caches.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, Callable

import attrs

from runtimeuse_sync import Client, CommandOutputMessageInterface, QueryOptions
from runtimeuse_sync._connection.reader import READ_SIZE
from runtimeuse_sync._protocol import codec
from runtimeuse_sync._protocol.frames import FrameDecoder

from .frames import burst, dump, result_message

MESSAGES = 3_000  # few enough to stay in the caches, as they do on their way through a call
REPETITIONS = 100


def best(work: Callable[[], Any]) -> float:
    """Microseconds a message, of the quickest repetition: what disturbs only ever adds."""
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / MESSAGES * 1e6


def chunks_of(data: bytes) -> list[bytes]:
    return [data[at : at + READ_SIZE] for at in range(0, len(data), READ_SIZE)]


def split(chunks: Iterable[bytes]) -> list[Any]:
    decoder = FrameDecoder(None)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@attrs.define
class Replay:
    """A transport, and its connection: one call's messages, in batches as they come off a socket."""

    batches: Sequence[Any]
    is_open = True

    def connection(self) -> Replay:
        return Replay(iter(self.batches))  # type: ignore[arg-type]

    def receive(self, timeout: float) -> Any:
        return next(self.batches)  # type: ignore[call-overload]

    def open(self, timeout: Any) -> None: ...
    def send(self, message: Any) -> None: ...
    def wake(self) -> None: ...
    def close(self, timeout: float) -> None: ...


def main() -> None:
    ready = burst("output", MESSAGES, 200)
    chunks = chunks_of(ready.block * ready.times + ready.rest)
    payloads = split(chunks)
    parsed = [codec._parse(payload) for payload in payloads]
    messages = [codec.decode_runtime_message(payload) for payload in payloads]
    structure = codec._FROM_RUNTIME["command_output_message"]
    result = codec.decode_runtime_message(dump(result_message("done", {})))
    batches = [messages[at : at + 800] for at in range(0, len(messages), 800)]
    client = Client(transport=Replay([*batches, [result]]))
    lengths: list[int] = []

    def on_output(message: CommandOutputMessageInterface) -> None:
        lengths.append(len(message.text))

    options = QueryOptions(system_prompt="", on_command_output=on_output)
    stages: dict[str, Callable[[], Any]] = {
        "frames": lambda: split(chunks),
        f"JSON ({'orjson' if hasattr(codec, 'orjson') else 'json'})": lambda: [codec._parse(p) for p in payloads],
        "classes (cattrs, attrs)": lambda: [structure(fields, None) for fields in parsed],
        "rules, dispatch and callback": lambda: client.query("go", options),
        "the callback alone": lambda: [on_output(message) for message in messages],
    }
    for name, work in stages.items():
        lengths.clear()
        print(f"{name:30} {best(work):6.2f} µs a message")


if __name__ == "__main__":
    main()
