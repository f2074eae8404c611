"""Chains of specs are what they say: good, bad, good again."""

from typing import Any

import pytest
from pydantic import ValidationError

from anneal_operator.api.resources import CUSTOM_RESOURCES
from anneal_operator.crdgen.definitions import structural

from .chains import Chain, chains
from .specs import MODELS

SCHEMAS: dict[str, Any] = {
    resource.kind: structural(resource.spec.model_json_schema(), "spec", bounded=True) for resource in CUSTOM_RESOURCES
}


@pytest.fixture(scope="module")
def drawn() -> list[Chain]:
    return chains(SCHEMAS, 30, seed=1)


def test_every_kind_has_its_share(drawn: list[Chain]) -> None:
    kinds = [chain.kind for chain in drawn]
    assert {kind: kinds.count(kind) for kind in SCHEMAS} == dict.fromkeys(SCHEMAS, 10)
    assert len({chain.name for chain in drawn}) == 30


def test_good_specs_are_good_and_bad_ones_bad(drawn: list[Chain]) -> None:
    for chain in drawn:
        for spec in (chain.good, chain.other, chain.allowed):
            MODELS[chain.kind].parse(spec)
        with pytest.raises(ValidationError):
            MODELS[chain.kind].parse(chain.bad)


def test_an_allowed_change_touches_only_what_may_change(drawn: list[Chain]) -> None:
    may_change = {"suspend", "activeDeadlineSeconds", "aliases", "serving"}
    changed = {
        name
        for chain in drawn
        for name in {*chain.good, *chain.allowed}
        if chain.good.get(name) != chain.allowed.get(name)
    }
    assert changed
    assert changed <= may_change


def test_a_seed_says_which_chains() -> None:
    assert chains(SCHEMAS, 3, seed=5) == chains(SCHEMAS, 3, seed=5)
    assert chains(SCHEMAS, 3, seed=5) != chains(SCHEMAS, 3, seed=6)
