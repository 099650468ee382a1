"""Output types that are a JSON schema: answers are checked by jsonschema."""

from __future__ import annotations

import copy
from typing import Any

from ._faults import FaultError
from ._nodes import Schema
from ._strict import Names

try:
    import jsonschema
    from jsonschema.exceptions import best_match
except ImportError as error:
    raise ImportError(
        'a schema as output_type needs jsonschema: pip install "runtimeuse-sync[typed]"', name="jsonschema"
    ) from error


class BySchema:
    """A schema as the type: values stay as they are. Raises ``ValueError`` for what is no JSON schema.

    Attributes:
        schema: the schema.
        names: of positions, which schemas have none.
    """

    def __init__(self, schema: Schema) -> None:
        self.names: Names = {}
        cls = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            cls.check_schema(schema)
            self.schema = copy.deepcopy(schema)
        except jsonschema.SchemaError as error:
            raise ValueError(f"output_type is no JSON schema: {error.message}, at {error.json_path}") from None
        except RecursionError:
            raise ValueError("output_type is no JSON schema: it is nested too deep") from None
        self._validator = cls(self.schema)

    def convert(self, value: Any) -> Any:
        """``value`` itself; raises ``FaultError`` if it is not what the schema says."""
        error = best_match(self._validator.iter_errors(value))
        if error is None:
            return value
        raise FaultError(_told(error), list(error.absolute_path)) from None


def _told(error: jsonschema.ValidationError) -> str:
    # Its own text quotes the value.
    keyword, wanted = str(error.validator), error.validator_value
    if keyword == "required" and isinstance(error.instance, dict):
        missing = [name for name in wanted if name not in error.instance]
        return f"Object missing required field `{missing[0]}`"
    if keyword == "type":
        return f"Expected `{wanted if isinstance(wanted, str) else ' | '.join(wanted)}`"
    plain = isinstance(wanted, (str, int, float)) and not isinstance(wanted, bool)
    return f"Expected what the schema's {keyword!r} says" + (f": {wanted}" if plain else "")
