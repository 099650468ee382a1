"""The answer of a result: as the runtime sent it, or as the type that the caller asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union

if TYPE_CHECKING:  # Python has defaults for type variables from 3.13 on; type checkers have them for all
    from typing_extensions import TypeVar as TypeVarWithDefault

    OutputT = TypeVarWithDefault("OutputT", default=Union[str, dict[str, Any]])
else:
    OutputT = TypeVar("OutputT")


class WithOutput(Generic[OutputT]):
    """Has ``output``. A subclass has ``data``, and a slot ``_output``.

    It is no field: it says again what ``data`` says, so that equality, ``repr`` and JSON have no need of it.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        data: Any
        _output: Any

    @property
    def output(self) -> OutputT:
        """The answer: of the ``output_type`` that was asked for; without one, the text or the dict.

        >>> from runtimeuse_sync import QueryResult, TextResult
        >>> QueryResult(data=TextResult(text="done")).output
        'done'
        """
        try:
            answer: OutputT = self._output
        except AttributeError:
            data = self.data
            answer = data.text if data.type == "text" else data.structured_output
        return answer

    @output.setter
    def output(self, value: OutputT) -> None:
        object.__setattr__(self, "_output", value)  # a subclass may refuse to be changed

    def __reduce_ex__(self, protocol: Any) -> Any:
        # attrs pickles fields alone.
        reduced = super().__reduce_ex__(protocol)
        if hasattr(self, "_output") and isinstance(reduced, tuple):
            return _restore, (*reduced[:3], self._output)
        return reduced


def _restore(make: Callable[..., Any], args: tuple[Any, ...], state: Any, output: object) -> Any:
    result = make(*args)
    result.__setstate__(state)
    object.__setattr__(result, "_output", output)
    return result
