"""Chains of specs for one object: good, bad, good again, drawn from the schema of its kind.

What is good and what is bad the models say; `tests/e2e/test_api.py` shows that the API server says the same.
"""

import copy
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from pydantic import ValidationError

from .schemas import generated_spec
from .specs import MODELS

__all__ = ["Chain", "chains"]

Json = dict[str, Any]
_MOST_DRAWS = 2000
_CHANGEABLE: Mapping[str, tuple[str, ...]] = {
    "FineTuneJob": ("suspend", "activeDeadlineSeconds"),
    "ModelVersion": ("aliases", "serving"),
    "ABExperiment": ("suspend",),
}
"""Fields that may change at any time."""


@dataclass(frozen=True)
class Chain:
    """What becomes of one object, step by step: refused, created, refused, judged, changed, deleted."""

    kind: str
    name: str
    bad: Json
    """Refused, whether it is created or changed to this."""
    good: Json
    """Accepted when it is created."""
    other: Json
    """Good by itself; that the object may become this is for the server to say."""
    allowed: Json
    """Good, and a change that is allowed at any time."""


def chains(schemas: Mapping[str, Json], count: int, seed: int) -> list[Chain]:
    """Return chains for the kinds in turn; `schemas` are their specs' schemas, and the seed says which chains."""
    rng = random.Random(seed)
    kinds = islice(cycle(sorted(schemas)), count)
    return [_chain(kind, schemas[kind], f"chain-{number}", rng) for number, kind in enumerate(kinds)]


def _chain(kind: str, schema: Json, name: str, rng: random.Random) -> Chain:
    good, bad = _drawn(kind, schema, rng, good=True), _drawn(kind, schema, rng, good=False)
    for _ in range(_MOST_DRAWS):
        other = _drawn(kind, schema, rng, good=True)
        changed = {field: other[field] for field in _CHANGEABLE[kind] if field in other}
        allowed = {**copy.deepcopy(good), **copy.deepcopy(changed)}
        if _is_good(kind, allowed):  # what may change may not fit what may not
            return Chain(kind, name, bad, good, other, allowed)
    raise AssertionError(f"{_MOST_DRAWS} specs of {kind}, and to none of them may this one change: {good}")


def _drawn(kind: str, schema: Json, rng: random.Random, *, good: bool) -> Json:
    for _ in range(_MOST_DRAWS):
        spec: Json = generated_spec(schema, rng)
        if isinstance(spec, dict) and _is_good(kind, spec) == good:
            return spec
    raise AssertionError(f"{_MOST_DRAWS} specs of {kind}, and none was {'good' if good else 'bad'}")


def _is_good(kind: str, spec: Json) -> bool:
    try:
        MODELS[kind].parse(spec)
    except ValidationError:
        return False
    return True
