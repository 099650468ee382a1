"""Secrets out of raised errors and of all that a local runtime sends: texts, nested values, streams.

What is redacted comes from a peer, which knows the secrets. So time and memory are linear in what came, whatever it
is: no list of occurrences is kept, and a repetition is passed over at the speed of a comparison. Nested values are
walked without recursion.
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

# The wire's own words. A secret that happens to read "text" must not break the protocol.
_VOCABULARY = frozenset({"message_type", "type", "stream", "phase"})
# Characters. A repetition is compared in pieces that double up to this: few comparisons, and little memory.
_LONGEST_PIECE = 64 * 1024


class Redactor:
    """Replaces each secret by ``[REDACTED]``; what several secrets overlap on becomes one mark.

    Replacing them one after the other would leave a part of the second where two overlap.

    >>> Redactor(["abc", "bcd"]).text("xabcdx")
    'x[REDACTED]x'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secret for secret in secrets if secret)
        # A mark counts as a secret, so that redacting twice is redacting once.
        self._finder = _Finder({*self.secrets, MARK})

    def including(self, secrets: Iterable[str]) -> Redactor:
        """A redactor of these secrets too."""
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
        """``value`` without the secrets, however deep: messages, mappings with their keys, lists, numbers.

        Raises:
            ValueError: if a container holds itself.
        """
        if not self.secrets:
            return value
        copied: list[Any] = []
        self._copy([value], copied)
        return copied[0]

    def _copy(self, source: Any, target: Any) -> None:
        """Fill ``target`` with what is in ``source``, redacted, level by level."""
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
        # A number that the protocol types as one (an exit code, a duration) stays one.
        free = {k: v for k, v in fields.items() if k not in _VOCABULARY and not isinstance(v, (int, float))}
        return attrs.evolve(message, **{name: self.value(item) for name, item in free.items()})


class ShownRedactor(Redactor):
    r"""A redactor of what is shown: made harmless, a text must not come to hold a secret that it did not hold before.

    >>> ShownRedactor(["s3cret"]).text("key=s3\x1b[0mcret"), Redactor(["s3cret"]).text("key=s3\x1b[0mcret")
    ('key=[REDACTED]', 'key=s3\x1b[0mcret')
    """

    def text(self, text: str) -> str:
        """``text`` without the secrets, and harmless if it would have one in it then."""
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
    """Where secrets are: the spans that they cover, those that overlap as one. Spans that only touch stay two."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._pattern: Optional[re.Pattern[str]] = None
        # How a span goes on behind the end of one secret: with another one, or the same again, of which so many
        # characters are there already. Those that lead farthest come first.
        self._overlaps: list[tuple[str, int]] = []
        self._next: set[str] = set()  # the characters that such a continuation begins with

    def _prepare(self) -> re.Pattern[str]:
        # When the first secret is found: most texts have none, and many long secrets take a while.
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
        """The spans of ``text``, from left to right; the first ``covered`` characters are the rest of one."""
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
        """Where the span ends that goes up to ``end`` at least, where a secret ends."""
        farther = self._farther(text, end)
        while farther > end:
            end = farther
            farther = self._farther(text, end)
        return end

    def _farther(self, text: str, end: int) -> int:
        for secret, known in self._overlaps:
            if known <= end and text.startswith(secret, end - known):
                end += len(secret) - known
                # What overlaps itself may go on doing so.
                return _end_of_repetition(text, end, len(secret) - known) if secret.endswith(secret[:known]) else end
        return end


def _overlaps(secret: str, others: Iterable[str]) -> set[int]:
    """How long the beginnings of ``secret`` are that one of ``others`` may be the end of, or end like."""
    found: set[int] = set()
    for other in others:
        found.update(len(other) - at for at in _beginnings(secret, other, len(other)))
        found.update(at + len(other) for at in _places(other, secret))
    return found - {len(secret)}


def _beginnings(secret: str, text: str, limit: int) -> Iterator[int]:
    """Where the ends of ``text`` start, before ``limit``, that are a beginning of ``secret``, but not all of it."""
    for at in _places(secret[0], text, max(0, len(text) - len(secret) + 1), limit):
        if secret.startswith(text[at:]):
            yield at


def _places(wanted: str, text: str, start: int = 0, end: Optional[int] = None) -> Iterator[int]:
    at = text.find(wanted, start, end)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1, end)


def _end_of_repetition(text: str, end: int, period: int) -> int:
    """How far the last ``period`` characters before ``end`` are repeated behind it."""
    piece = text[end - period : end]
    while text.startswith(piece, end):
        end += len(piece)
        if len(piece) < _LONGEST_PIECE:
            piece += piece
    return end


class RedactedStream:
    """Bytes of one output stream in, text without secrets out, wherever the chunks are cut.

    What may be the beginning of a secret is held back until it is known to be one or not, so that memory and
    delay are bounded by the longest secret.

    >>> stream = RedactedStream(Redactor(["s3cret"]))
    >>> stream.feed(b"key=s3c"), stream.feed(b"ret, "), stream.feed(b"s3"), stream.flush()
    ('key=', '[REDACTED], ', '', 's3')
    """

    def __init__(self, redactor: Redactor) -> None:
        self._secrets = sorted(redactor.secrets, key=len, reverse=True)
        self._finder = _Finder(redactor.secrets)
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
        if self._covered or _holds_any(text, self._secrets):
            return self._take_redacted(text, cut)
        self._held = text[cut:]
        return text[:cut]

    def _take_redacted(self, text: str, cut: int) -> str:
        replaced = self._finder.replaced(text[:cut])
        if replaced is not None:  # and then none reaches beyond the cut, either
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
        """Where the longest end of ``text`` that begins a secret starts."""
        start = len(text)
        for secret in self._secrets:
            start = next(_beginnings(secret, text, start), start)
        return start
