"""The client of a runtime that says anything: ``python -m tests.attacks.fuzzed_client URL SEED SECONDS FOLDER``.

Prints one line of JSON: how often each kind of call ended in what, what it left behind, and the most memory it took.
Every exception that is none of the library's is printed on standard error, and so is all else that should not be.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, Callable

from runtimeuse_sync import (
    CancelledException,
    Client,
    CommandInterface,
    InvocationMessage,
    QueryOptions,
    RuntimeUseError,
)

CALLERS = 6
# Seconds that the threads and descriptors of the last calls have to go.
PATIENCE = 20.0


class CallbackError(Exception):
    """What a callback raises: it has to arrive unchanged."""


def invocation(**fields: Any) -> InvocationMessage:
    return InvocationMessage(system_prompt="", user_prompt="!" * 5, secrets_to_redact=["s3cret", "s3"], **fields)


class Caller:
    """Makes one call after the other, with callbacks that block, fail, or ask for the end."""

    def __init__(self, url: str, seed: int, folder: Path) -> None:
        self._url = url
        self._draws = random.Random(seed)
        self._folder = folder
        self.outcomes: Counter[str] = Counter()

    def run(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            call = self._draws.choice(self._calls())
            outcome = self._outcome(call)
            self.outcomes[f"{call.__name__.strip('_')}: {outcome}"] += 1

    def _calls(self) -> list[Callable[[Client], Any]]:
        run = [self._invoke, self._query, self._stream, self._execute_commands, self._wait_until_ready]
        return [*run, self._session, self._session, self._run, self._upload, self._download]

    def _outcome(self, call: Callable[[Client], Any]) -> str:
        client = self._client()
        aborting = threading.Timer(self._draws.random(), client.abort)
        aborting.daemon = True
        if self._draws.random() < 0.3:
            aborting.start()
        try:
            call(client)
            return "returned"
        except (RuntimeUseError, CallbackError) as error:
            look_at(error)
            return type(error).__name__
        except Exception as error:  # noqa: BLE001 - that there is none is what is tried
            traceback.print_exc()
            return f"FOREIGN {type(error).__name__}"
        finally:
            aborting.cancel()

    def _client(self) -> Client:
        return Client(
            self._url,
            connect_timeout=1,
            ping_interval=0.1,
            ping_timeout=self._draws.choice((0.2, 2)),
            drain_timeout=0.3,
        )

    # --- calls -----------------------------------------------------------------------------------

    def _invoke(self, client: Client) -> None:
        artifacts: dict[str, Any] = {}
        message = invocation()
        if self._draws.random() < 0.5:
            message = invocation(artifacts_dirs=[str(self._folder / "out")])
            artifacts = {"on_artifact_upload_request": self._answer}
        client.invoke(message, self._hear, **self._callbacks(), **self._limits(), **artifacts)

    def _query(self, client: Client) -> None:
        client.query("!" * 3, QueryOptions(system_prompt="", secrets_to_redact=["s3cret"], **self._limits()))

    def _stream(self, client: Client) -> None:
        with client.stream(invocation(), tick=self._draws.choice((None, 0.05)), **self._limits()) as run:
            for message in run:
                self._hear(message)
                if self._draws.random() < 0.02:
                    return

    def _execute_commands(self, client: Client) -> None:
        command = self._draws.choice(("true", "exit 3", "echo s3cret", "head -c 300000 /dev/zero"))
        client.execute_commands(
            [CommandInterface(command)],
            secrets_to_redact=["s3cret"],
            check=self._draws.random() < 0.5,
            **self._limits(),
        )

    def _session(self, client: Client) -> None:
        with client.session() as session:
            for _ in range(self._draws.randrange(1, 5)):
                call = self._draws.choice((self._invoke, self._query, self._stream, self._execute_commands, self._run))
                try:
                    call(session)  # type: ignore[arg-type]  # what both can do
                except CancelledException:
                    continue

    def _wait_until_ready(self, client: Client) -> None:
        client.wait_until_ready(timeout=0.5)

    def _run(self, client: Client) -> None:
        size = self._draws.choice((0, 10, 1_500_000))
        client.run(f"head -c {size} /dev/zero; cat", input=b"s3cret", **self._secret(), on_output=self._hear)

    def _upload(self, client: Client) -> None:
        client.upload(self._folder / "source", f"{self._folder}/there-{self._draws.random()}", **self._secret())

    def _download(self, client: Client) -> None:
        client.download(f"{self._folder}/source", self._folder / f"here-{self._draws.random()}", **self._secret())

    # --- their arguments -------------------------------------------------------------------------

    def _secret(self) -> dict[str, Any]:
        return {"timeout": 3, "secrets_to_redact": ["s3cret"]}

    def _limits(self) -> dict[str, Any]:
        event = threading.Event()
        if self._draws.random() < 0.1:
            event.set()
        limits: dict[str, Any] = {"timeout": self._draws.choice((0.1, 1, 3))}
        if self._draws.random() < 0.3:
            limits["idle_timeout"] = 0.1
        if self._draws.random() < 0.5:
            limits["is_cancelled"] = self._draws.choice((event, lambda: self._draws.random() < 0.05))
        return limits

    def _callbacks(self) -> dict[str, Any]:
        return {
            "on_assistant_message": self._hear,
            "on_command_output": self._hear,
            "on_heartbeat": self._hear,
            "on_error_message": lambda message: bool(self._hear(message) or self._draws.random() < 0.7),
        }

    def _hear(self, message: object) -> None:
        repr(message)
        chance = self._draws.random()
        if chance < 0.01:
            time.sleep(2)
        elif chance < 0.1:
            time.sleep(0.05)
        elif chance < 0.11:
            raise CallbackError

    def _answer(self, request: object) -> Any:
        self._hear(request)
        return ("http://127.0.0.1:1/" + "x" * self._draws.choice((0, 100_000)), "text/plain")


def look_at(error: BaseException) -> None:
    """An exception's words are safe to show, wherever it came from; a secret is not among them."""
    words = f"{error} {error!r}"
    if re.search(r"[\0-\x08\x0b-\x1f\x7f]", words):
        print("A control character in", ascii(words[:1000]), file=sys.stderr)
    if "s3cret" in words:
        print("A secret in", ascii(words[:1000]), file=sys.stderr)
        traceback.print_exception(type(error), error, error.__traceback__)


def memory() -> int:
    """Bytes, at their most."""
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith("VmHWM:")).split()[1])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def left_behind(before: int) -> list[str]:
    give_up = time.monotonic() + PATIENCE
    while threading.active_count() > 1 or descriptors() > before:
        if time.monotonic() > give_up:
            names = [thread.name for thread in threading.enumerate()[1:]]
            return [*names, f"{descriptors() - before} descriptors"]
        time.sleep(0.05)
    return []


def main(url: str, seed: str, seconds: str, folder: str) -> None:
    warnings.simplefilter("error")
    logging.basicConfig(level=logging.ERROR)
    callers = [Caller(url, int(seed) + n, Path(folder)) for n in range(CALLERS)]
    before, deadline = descriptors(), time.monotonic() + float(seconds)
    threads = [threading.Thread(target=caller.run, args=(deadline,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes: Counter[str] = sum((caller.outcomes for caller in callers), Counter())
    report = {"outcomes": dict(sorted(outcomes.items())), "left": left_behind(before), "memory": memory()}
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
