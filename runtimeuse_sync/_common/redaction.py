"""Redaction of secrets in raised errors, and in all that a local runtime sends: texts, nested values, streams.

The input comes from a peer that knows the secrets, and may be made to be slow to redact. So time and memory are linear
in its size: no list of occurrences is kept, repetitions of a secret are skipped by comparing large pieces, and nested
values are walked without recursion.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from typing import Any, Callable, Optional

import attrs

from .words import harmless

MARK = "[REDACTED]"

# Fields whose values are constants of the protocol. They are not redacted: a secret may happen to be "text".
_VOCABULARY = frozenset({"message_type", "type", "stream", "phase"})
# Characters. Repetitions are compared in pieces that double up to this size: few comparisons, and little memory.
_LONGEST_PIECE = 64 * 1024


class Redactor:
    """Replaces each secret by ``[REDACTED]``; overlapping secrets are replaced by one mark.

    Replacing one after the other would leave a part of the second where two overlap.

    >>> Redactor(["abc", "bcd"]).text("xabcdx")
    'x[REDACTED]x'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secret for secret in secrets if secret)
        # The mark counts as a secret, so that redacting a redacted text changes nothing.
        self._finder = _Finder({*self.secrets, MARK})

    def including(self, secrets: Iterable[str]) -> Redactor:
        """A new redactor, for these secrets as well."""
        return Redactor(self.secrets.union(secrets))

    def text(self, text: str) -> str:
        """``text`` without the secrets."""
        if not _holds_any(text, self.secrets):
            return text
        return self._finder.replaced(text) or self._by_spans(text)

    def _by_spans(self, text: str) -> str:
        out, at = StringIO(), 0
        for start, end in self._finder.spans(text):
            out.write(text[at:start])
            out.write(MARK)
            at = end
        out.write(text[at:])
        return out.getvalue()

    def value(self, value: Any) -> Any:
        """``value`` without the secrets, at any depth: in messages, keys and values of mappings, lists and numbers.

        Raises:
            ValueError: if a container holds itself.
        """
        if not self.secrets:
            return value
        copied: list[Any] = []
        self._copy([value], copied)
        return copied[0]

    def _copy(self, source: Any, target: Any) -> None:
        """Fill ``target`` with the redacted items of ``source``, with a stack of iterators in place of recursion."""
        levels = [(source, self._putter(target), _items(source))]
        above = {id(source)}
        while levels:
            source, put, items = levels[-1]
            for key, item in items:
                if not isinstance(item, (dict, list, tuple)):
                    put(key, self._leaf(item))
                    continue
                copied: Any = {} if isinstance(item, dict) else []
                put(key, copied)
                if item:
                    _check_not_above(item, above)
                    levels.append((item, self._putter(copied), _items(item)))
                    break
            else:
                levels.pop()
                above.remove(id(source))

    def _putter(self, target: Any) -> Callable[[Any, Any], None]:
        if isinstance(target, dict):
            return lambda key, item: target.__setitem__(self._leaf(key), item)
        return lambda _, item: target.append(item)

    def _leaf(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (int, float)):
            is_secret = not isinstance(value, bool) and _holds_any(repr(value), self.secrets)
            return MARK if is_secret else value
        return self._message(value) if attrs.has(type(value)) else value

    def _message(self, message: Any) -> Any:
        fields = {a.name: getattr(message, a.name) for a in attrs.fields(type(message))}
        # A field that the protocol defines as a number (an exit code, a duration) is kept as it is.
        free = {k: v for k, v in fields.items() if k not in _VOCABULARY and not isinstance(v, (int, float))}
        return attrs.evolve(message, **{name: self.value(item) for name, item in free.items()})


class ShownRedactor(Redactor):
    r"""A redactor for texts that are displayed: it also finds secrets that appear when control characters are removed.

    >>> ShownRedactor(["s3cret"]).text("key=s3\x1b[0mcret"), Redactor(["s3cret"]).text("key=s3\x1b[0mcret")
    ('key=[REDACTED]', 'key=s3\x1b[0mcret')
    """

    def text(self, text: str) -> str:
        """``text`` without the secrets; ``harmless`` is applied too, if a secret would appear by it."""
        redacted = super().text(text)
        for keep_lines in (True, False):
            shown = harmless(redacted, keep_lines=keep_lines)
            if _holds_any(shown, self.secrets):
                redacted = super().text(shown)
        return redacted


def _items(container: Any) -> Iterator[tuple[Any, Any]]:
    return iter(container.items() if isinstance(container, dict) else enumerate(container))


def _check_not_above(container: Any, above: set[int]) -> None:
    if id(container) in above:
        raise ValueError("a container holds itself")
    above.add(id(container))


def _holds_any(text: str, secrets: Iterable[str]) -> bool:
    for secret in secrets:  # noqa: SIM110 - any() takes twice as long, for each string of a large value
        if secret in text:
            return True
    return False


class _Finder:
    """Finds the spans of a text that secrets cover. Overlapping ones are merged, adjacent ones are not."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._pattern: Optional[re.Pattern[str]] = None
        # How a span can continue beyond the end of a secret: by another or the same secret, whose first so many
        # characters are already in the span. The ones that extend it most come first.
        self._overlaps: list[tuple[str, int]] = []
        self._next: set[str] = set()  # the first characters of these continuations

    def _prepare(self) -> re.Pattern[str]:
        # Done when the first secret is found: most texts have none, and it takes a while for many long secrets.
        if self._pattern is None:
            pairs = ((secret, known) for secret in self._secrets for known in _overlaps(secret, self._secrets))
            self._overlaps = sorted(pairs, key=lambda pair: pair[1])
            self._next = {secret[known] for secret, known in self._overlaps}
            self._pattern = re.compile("|".join(map(re.escape, self._secrets)))
        return self._pattern

    def replaced(self, text: str) -> Optional[str]:
        """``text`` with a mark for each secret, if no two secrets can overlap; else None."""
        pattern = self._prepare()
        return None if self._overlaps else pattern.sub(MARK, text)

    def spans(self, text: str, covered: int = 0) -> Iterator[tuple[int, int]]:
        """The spans of ``text``, from left to right; its first ``covered`` characters end an earlier span."""
        pattern, end = self._prepare(), covered
        if covered:
            end = self._end(text, covered)
            yield 0, end
        match = pattern.search(text, end)
        while match:
            start, end = match.span()
            if text[end : end + 1] in self._next:
                end = self._end(text, end)
            yield start, end
            match = pattern.search(text, end)

    def _end(self, text: str, end: int) -> int:
        """The end of a span that has a secret ending at ``end``, extended by all overlapping secrets."""
        farther = self._farther(text, end)
        while farther > end:
            end = farther
            farther = self._farther(text, end)
        return end

    def _farther(self, text: str, end: int) -> int:
        for secret, known in self._overlaps:
            if known <= end and text.startswith(secret, end - known):
                end += len(secret) - known
                # A secret that overlaps itself may be repeated many times: skip them all at once.
                return _end_of_repetition(text, end, len(secret) - known) if secret.endswith(secret[:known]) else end
        return end


def _overlaps(secret: str, others: Iterable[str]) -> set[int]:
    """The lengths of the proper prefixes of ``secret`` at which one of ``others`` can end."""
    found: set[int] = set()
    for other in others:
        found.update(len(other) - at for at in _beginnings(secret, other, len(other)))
        found.update(at + len(other) for at in _places(other, secret))
    return found - {len(secret)}


def _beginnings(secret: str, text: str, limit: int) -> Iterator[int]:
    """The positions before ``limit`` from which ``text`` ends with a proper prefix of ``secret``."""
    for at in _places(secret[0], text, max(0, len(text) - len(secret) + 1), limit):
        if secret.startswith(text[at:]):
            yield at


def _places(wanted: str, text: str, start: int = 0, end: Optional[int] = None) -> Iterator[int]:
    at = text.find(wanted, start, end)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1, end)


def _end_of_repetition(text: str, end: int, period: int) -> int:
    """The end of the repetitions of the last ``period`` characters before ``end``."""
    piece = text[end - period : end]
    while text.startswith(piece, end):
        end += len(piece)
        if len(piece) < _LONGEST_PIECE:
            piece += piece
    return end


class RedactedStream:
    """An incremental redactor: takes chunks of bytes of one output stream, cut anywhere, and returns redacted text.

    The end of a chunk that may be the beginning of a secret is held back until the next one. So memory and delay are
    bounded by the longest secret.

    >>> stream = RedactedStream(Redactor(["s3cret"]))
    >>> stream.feed(b"key=s3c"), stream.feed(b"ret, "), stream.feed(b"s3"), stream.flush()
    ('key=', '[REDACTED], ', '', 's3')
    """

    def __init__(self, redactor: Redactor) -> None:
        self._secrets = sorted(redactor.secrets, key=len, reverse=True)
        self._finder = _Finder(redactor.secrets)
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._held = ""
        # How many characters of ``_held`` belong to a secret whose mark was already returned.
        self._covered = 0

    def feed(self, chunk: bytes) -> str:
        """Add a chunk; return the text that is known to be free of secrets, with marks for complete ones."""
        return self._advance(self._decode(chunk), final=False)

    def flush(self) -> str:
        """Return the rest, at the end of the stream."""
        return self._advance(self._decode(b"", True), final=True)

    def _advance(self, new: str, *, final: bool) -> str:
        text = self._held + new
        cut = len(text) if final else self._possible_start(text)
        if self._covered or _holds_any(text, self._secrets):
            return self._take_redacted(text, cut)
        self._held = text[cut:]
        return text[:cut]

    def _take_redacted(self, text: str, cut: int) -> str:
        replaced = self._finder.replaced(text[:cut])
        if replaced is not None:  # no two secrets overlap, so none reaches beyond the cut
            self._held = text[cut:]
            return replaced
        out = StringIO()
        at, covered = 0, 0 if cut else self._covered
        for start, end in self._finder.spans(text, self._covered):
            if start >= cut:
                break
            out.write(text[at:start])
            # A span that begins inside the covered part continues a secret already marked.
            out.write(MARK if start or not self._covered else "")
            at, covered = min(end, cut), max(end - cut, 0)
        out.write(text[at:cut])
        self._held, self._covered = text[cut:], covered
        return out.getvalue()

    def _possible_start(self, text: str) -> int:
        """The first position from which ``text`` ends with the beginning of a secret; its length if there is none."""
        start = len(text)
        for secret in self._secrets:
            start = next(_beginnings(secret, text, start), start)
        return start
