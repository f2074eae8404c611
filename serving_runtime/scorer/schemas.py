"""Whether an answer is JSON that satisfies a schema. Nothing is fetched that a schema refers to."""

import json
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry

__all__ = ["NoSchemaError", "satisfies", "validator"]


class NoSchemaError(ValueError):
    """What is to be satisfied is no JSON Schema."""


def validator(text: str) -> Validator:
    """Return what tells; raise NoSchemaError where nothing can."""
    try:
        schema = json.loads(text)
        kind = validator_for(schema)
        kind.check_schema(schema)
    except (RecursionError, SchemaError, TypeError, ValueError) as error:
        raise NoSchemaError(f"`responseSchema` is no JSON Schema: {str(error).splitlines()[0]}") from error
    made: Validator = kind(schema, registry=Registry())
    return made


def satisfies(judging: Validator, said: str) -> bool:
    """Return whether what was said does, as it stands: a client would read it so."""
    try:
        told = json.loads(said, parse_constant=_refused)
    except (RecursionError, ValueError):
        return False
    return bool(judging.is_valid(told))


def _refused(name: str) -> Any:  # noqa: ANN401 - it never returns
    raise ValueError(f"{name} is no JSON")
