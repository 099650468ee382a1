"""Browsers that ask the examples' views, and leave."""

from __future__ import annotations

import time
from http.client import HTTPConnection

import attrs

from runtimeuse_sync import CancelMessage
from runtimeuse_sync.testing import ScriptedRuntime

from .support import PATIENCE

# Seconds from a browser's leaving to the runtime's being told.
NOTICED = 2.0


@attrs.frozen
class Form:
    """How a view wants to be asked."""

    body: bytes
    content_type: str

    def post(self, port: int, path: str, question: bytes) -> HTTPConnection:
        """A browser that has asked."""
        browser = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        browser.request("POST", path, self.body % question, {"Content-Type": self.content_type})
        return browser


JSON = Form(b'{"question": "%s"}', "application/json")
URLENCODED = Form(b"question=%s", "application/x-www-form-urlencoded")


def seconds_to_cancel(runtime: ScriptedRuntime, port: int, form: Form, *, reads: bool = True) -> float:
    """From a browser's leaving until the runtime is told. It has read a bit, or reads nothing at all."""
    before = sum(isinstance(message, CancelMessage) for message in runtime.received)
    browser = form.post(port, "/streams", b"wait")
    stream = browser.getresponse()
    if reads:
        stream.readline()
    else:
        time.sleep(1.0)  # until all that takes what nobody reads is full
    stream.close()
    browser.close()
    left = time.monotonic()
    runtime.wait_for(CancelMessage, PATIENCE, count=before + 1)
    return time.monotonic() - left
