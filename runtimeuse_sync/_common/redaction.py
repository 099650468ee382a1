"""Secrets out of raised errors and of all that a local runtime sends: texts, nested values, streams."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

MARK = "[REDACTED]"

# The wire's own words. A secret that happens to read "text" must not break the protocol.
_VOCABULARY = frozenset({"message_type", "type", "stream", "phase"})


class Redactor:
    """Replaces each secret by ``[REDACTED]``; what several secrets overlap on becomes one mark.

    Replacing them one after the other would leave a part of the second where two overlap.

    >>> Redactor(["abc", "bcd"]).text("xabcdx")
    'x[REDACTED]x'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secret for secret in secrets if secret)
        # A mark counts as a secret, so that redacting twice is redacting once.
        self._needles = {*self.secrets, MARK}

    def including(self, secrets: Iterable[str]) -> Redactor:
        """A redactor of these secrets too."""
        return Redactor(self.secrets.union(secrets))

    def text(self, text: str) -> str:
        """``text`` without the secrets."""
        if not any(secret in text for secret in self.secrets):
            return text
        pieces: list[str] = []
        at = 0
        for start, end in _merged(sorted(_occurrences(text, self._needles))):
            pieces += text[at:start], MARK
            at = end
        return "".join(pieces) + text[at:]

    def value(self, value: Any) -> Any:
        """``value`` without the secrets, however deep: messages, mappings with their keys, lists, numbers."""
        if not self.secrets:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if attrs.has(type(value)):
            return self._message(value)
        return self._scalar(value)

    def _message(self, message: Any) -> Any:
        fields = {a.name: getattr(message, a.name) for a in attrs.fields(type(message))}
        # A number that the protocol types as one (an exit code, a duration) stays one.
        free = {k: v for k, v in fields.items() if k not in _VOCABULARY and not isinstance(v, (int, float))}
        return attrs.evolve(message, **{name: self.value(item) for name, item in free.items()})

    def _scalar(self, value: Any) -> Any:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return MARK if is_number and any(secret in repr(value) for secret in self.secrets) else value


def _occurrences(text: str, needles: Iterable[str]) -> Iterator[tuple[int, int]]:
    for needle in needles:
        at = text.find(needle)
        while at >= 0:
            yield at, at + len(needle)
            at = text.find(needle, at + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted spans, those that overlap as one. Spans that only touch stay two."""
    start, end = 0, 0
    for s, e in spans:
        if s < end:
            end = max(end, e)
            continue
        if end:
            yield start, end
        start, end = s, e
    if end:
        yield start, end


class RedactedStream:
    """Bytes of one output stream in, text without secrets out, wherever the chunks are cut.

    What may be the beginning of a secret is held back until it is known to be one or not, so that memory and
    delay are bounded by the longest secret.

    >>> stream = RedactedStream(Redactor(["s3cret"]))
    >>> stream.feed(b"key=s3c"), stream.feed(b"ret, "), stream.feed(b"s3"), stream.flush()
    ('key=', '[REDACTED], ', '', 's3')
    """

    def __init__(self, redactor: Redactor) -> None:
        self._secrets = redactor.secrets
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._held = ""
        # How much of ``_held`` belongs to a secret whose mark is already out.
        self._covered = 0

    def feed(self, chunk: bytes) -> str:
        """The text that is known to be free of secrets, with marks for those that are complete."""
        return self._advance(self._decode(chunk), final=False)

    def flush(self) -> str:
        """The rest, at the end of the stream."""
        return self._advance(self._decode(b"", True), final=True)

    def _advance(self, new: str, *, final: bool) -> str:
        text = self._held + new
        cut = len(text) if final else self._possible_start(text)
        out: list[str] = []
        at, covered = 0, 0 if cut else self._covered
        for start, end in self._spans(text):
            if start >= cut:
                break
            out.append(text[at:start])
            # A span that begins inside the covered part continues a secret already marked.
            out.append(MARK if start or not self._covered else "")
            at, covered = min(end, cut), max(end - cut, 0)
        out.append(text[at:cut])
        self._held, self._covered = text[cut:], covered
        return "".join(out)

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        already = [(0, self._covered)] if self._covered else []
        return _merged(sorted([*already, *_occurrences(text, self._secrets)]))

    def _possible_start(self, text: str) -> int:
        """Where the longest end of ``text`` that begins a secret starts."""
        return min((_start_of_prefix(text, secret) for secret in self._secrets), default=len(text))


def _start_of_prefix(text: str, secret: str) -> int:
    at = text.find(secret[0], max(0, len(text) - len(secret) + 1))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(secret[0], at + 1)
    return at if at >= 0 else len(text)
