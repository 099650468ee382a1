"""The ``output`` of results: the answer as the runtime sent it, or as the type that the caller asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union

if TYPE_CHECKING:  # type checkers know defaults of type variables for every version, Python from 3.13 on
    from typing_extensions import TypeVar as TypeVarWithDefault

    OutputT = TypeVarWithDefault("OutputT", default=Union[str, dict[str, Any]])
else:
    OutputT = TypeVar("OutputT")


class WithOutput(Generic[OutputT]):
    """A base class with the property ``output``. A subclass has ``data``, and a slot ``_output``.

    ``output`` is not a field: it is derived from ``data``, so equality, ``repr`` and JSON do without it.
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
        object.__setattr__(self, "_output", value)  # a subclass may be frozen

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickled in addition to what attrs pickles, which is fields only.
        reduced = super().__reduce_ex__(protocol)
        if hasattr(self, "_output") and isinstance(reduced, tuple):
            return _restore, (*reduced[:3], self._output)
        return reduced


def _restore(make: Callable[..., Any], args: tuple[Any, ...], state: Any, output: object) -> Any:
    result = make(*args)
    result.__setstate__(state)
    object.__setattr__(result, "_output", output)
    return result
