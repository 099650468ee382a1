"""The type variables of the calls, and names of ``typing`` that older Pythons lack. For annotations only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Union

from .. import messages as m

OutputT = TypeVar("OutputT")
ResultT = TypeVar("ResultT")
if TYPE_CHECKING:  # type checkers know defaults of type variables for every version, Python from 3.13 on
    from typing_extensions import TypeForm as TypeForm
    from typing_extensions import TypeVar as TypeVarWithDefault
    from typing_extensions import Unpack as Unpack

    MessageT = TypeVarWithDefault("MessageT", bound=m.ResultMessageInterface[Any], default=m.ResultMessageInterface)
    # The overload for it stands before that for TypeForm, so that a type checker that does not support TypeForm (PEP
    # 747) still infers classes.
    JSONSchema = dict[str, Any]
else:
    MessageT = TypeVar("MessageT")
    # Placeholders: TypeForm (PEP 747) and Unpack (PEP 692) are only for type checkers, and older versions of typing
    # lack them.
    TypeForm = Unpack = Union
    JSONSchema = dict
