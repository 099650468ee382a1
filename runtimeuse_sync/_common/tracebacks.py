"""Decorators that remove from an error's traceback the frames whose variables hold arguments.

Error reporters (Sentry, rich, ``traceback.TracebackException(capture_locals=True)``) show the variables of each frame
of a traceback. A function's arguments may include a token, or a URL with a password in it.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, Callable, TypeVar, cast

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
ClassT = TypeVar("ClassT", bound=type)


def hides_arguments(function: FunctionT) -> FunctionT:
    """Wrap ``function``: a ``TypeError`` or ``ValueError`` of it has no frame that holds its arguments.

    Not for a function that calls functions of the user: their errors need their frames.

    >>> @hides_arguments
    ... def connect(url):
    ...     raise ValueError("the URL names no host")
    >>> try:
    ...     connect("ws://user:s3cret@")
    ... except ValueError as error:
    ...     print(error, error.__traceback__.tb_next.tb_next)
    the URL names no host None
    """

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            complaint = error.with_traceback(None)
        if complaint.__suppress_context__:  # it is not to be shown, but has frames as well
            complaint.__context__ = None
        del args, kwargs
        raise complaint

    return cast(FunctionT, checked)


def made_without_a_trace(cls: ClassT) -> ClassT:
    """Apply ``hides_arguments`` to the constructor and attribute setter of ``cls``: for a class that holds secrets."""
    for name in ("__init__", "__setattr__"):
        setattr(cls, name, hides_arguments(getattr(cls, name)))
    return cls
