"""Output types that msgspec handles: Python's own types, attrs classes and Structs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Optional, Union

from ._faults import OWN_CHECK, FaultError
from ._nodes import Schema
from ._strict import Names

try:
    import msgspec
    import msgspec.inspect
except ImportError as error:
    raise ImportError('output_type needs msgspec: pip install "runtimeuse-sync[typed]"', name="msgspec") from error

_ERROR = re.compile(r"(?P<what>.*) - at `(?:key` in `)?\$(?P<path>[^`]*)`", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
# These quote what came, behind what is kept here. The others speak of the type alone.
_QUOTING = re.compile(r"(Invalid enum value|Invalid value|Object contains unknown field)\b")


class ByMsgspec:
    """A type as msgspec knows it. Raises ``TypeError`` for one that it does not.

    Attributes:
        schema: its JSON schema.
        names: of the positions of its tuples.
    """

    def __init__(self, output_type: Any) -> None:
        self._type = output_type
        try:
            self.schema: Schema = msgspec.json.schema(output_type)
            self.names: Names = _names(msgspec.inspect.type_info(output_type))
        except (TypeError, NameError, AttributeError, ValueError, RecursionError) as error:
            # Until 0.20 it sorts the values of a Literal; the last for Python 3.9 is one of these.
            is_mixed = str(error).startswith("'<' not supported")
            reason = (
                "this msgspec knows no Literal of values of several types; write an Enum" if is_mixed else _gist(error)
            )
            raise TypeError(f"output_type cannot be read from JSON: {reason}") from None

    def convert(self, value: Any) -> Any:
        """``value`` as the type; raises ``FaultError``."""
        try:
            return self._convert(value)
        except msgspec.ValidationError as error:
            what, steps = _split(error)
            fault = FaultError(*_told(what, steps, is_own_check=error.__cause__ is not None))
        fault.steps = self._with_keys(value, list(fault.steps))
        raise fault

    def _convert(self, value: Any) -> Any:
        return msgspec.convert(value, self._type, str_keys=True)

    def _with_keys(self, value: Any, steps: list[Any]) -> list[Any]:
        """``steps`` with the keys of mappings, of which msgspec does not say which one it means."""
        for place, step in enumerate(steps):
            if step is None:
                steps[place] = self._key(value, steps, place)
        return steps

    def _key(self, value: Any, steps: list[Any], place: int) -> Any:
        """The key at ``steps[place]``: found by halving the mapping while the fault stays."""
        keys = list(_at(value, steps[:place]))
        while len(keys) > 1:
            half = keys[: len(keys) // 2]
            keys = half if self._fails_there(_replaced(value, steps[:place], half), steps) else keys[len(half) :]
        return keys[0] if keys else None

    def _fails_there(self, value: Any, steps: list[Any]) -> bool:
        try:
            self._convert(value)
        except msgspec.ValidationError as error:
            return len(_split(error)[1]) == len(steps)
        return False


def _gist(error: Exception) -> str:
    # The lines before tell how to teach msgspec a type, for which there is no way here.
    return str(error).strip().rpartition("\n")[2]


def _split(error: msgspec.ValidationError) -> tuple[str, list[Any]]:
    """The text of msgspec's error, and the steps to the place; None for a key that it does not name."""
    found = _ERROR.fullmatch(str(error))
    if found is None:
        return str(error), []
    steps = _STEP.findall(found["path"])
    return found["what"], [name or (None if key else int(index)) for name, index, key in steps]


def _told(what: str, steps: list[Any], *, is_own_check: bool) -> tuple[str, list[Any], Optional[str]]:
    if is_own_check:
        return OWN_CHECK, steps, what
    quoting = _QUOTING.match(what)
    return quoting[1] if quoting else what, steps, None


def _at(value: Any, steps: list[Any]) -> Any:
    for step in steps:
        value = value[step]
    return value


def _replaced(value: Any, steps: list[Any], keys: list[str]) -> Any:
    """``value``, where the mapping at ``steps`` has nothing but ``keys``."""
    if not steps:
        return {key: value[key] for key in keys}
    changed = value.copy()
    changed[steps[0]] = _replaced(value[steps[0]], steps[1:], keys)
    return changed


# --- names of positions -----------------------------------------------------------------------------


def _names(info: Any) -> Names:
    """The fields of named tuples, and of Structs that are arrays, by the title that their schemas have."""
    found: dict[str, list[str]] = {}
    for one in _parts(info, set()):
        is_array = isinstance(one, msgspec.inspect.NamedTupleType) or getattr(one, "array_like", False)
        if is_array:
            names = [field.encode_name for field in one.fields]
            # Two classes of one name: neither's names are known to be meant.
            title = one.cls.__name__
            found[title] = names if found.get(title, names) == names else []
    return found


def _parts(info: Any, seen: set[int]) -> Iterator[Any]:
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.Type):
        yield info
    parts: Union[list[Any], tuple[Any, ...]] = ()
    if isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)):
        parts = [getattr(info, name) for name in info.__struct_fields__]
    elif isinstance(info, tuple):
        parts = info
    for part in parts:
        yield from _parts(part, seen)
