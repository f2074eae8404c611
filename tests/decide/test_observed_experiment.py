"""What is known of an experiment's variants: as counting began, where it has."""

from typing import Any

import pytest

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.decide.experiment_terms import terms_of
from anneal_operator.decide.observed_experiment import KeepStart, ObservedExperiment, Pin, Record, VariantSeen

from .test_experiment_sample import EXPERIMENT

STARTED = "2026-03-01T10:00:00Z"
PINNED = Record(STARTED, pins={"a": Pin("1", "sha256:a")})


def _seen(**changes: Any) -> ObservedExperiment:
    variants = {"a": VariantSeen("m", ready=True, number="7", digest="sha256:z")}
    given = {"previous": ABExperimentStatus(), "variants": variants, **changes}
    return ObservedExperiment(1, EXPERIMENT, **given)


@pytest.mark.parametrize(
    ("record", "variant", "number"),
    [
        (None, "a", "7"),
        (None, "b", ""),
        (None, None, ""),
        (Record(STARTED), "a", "7"),
        (PINNED, "a", "1"),
        (PINNED, "b", ""),
    ],
)
def test_a_variant_s_version_is_that_of_the_start(record: Record | None, variant: str | None, number: str) -> None:
    assert _seen(record=record).number_of(variant) == number


@pytest.mark.parametrize(("record", "replaced"), [(None, None), (Record(STARTED), None), (PINNED, "a")])
def test_a_variant_is_replaced_where_its_artifact_is_not_that_of_the_start(
    record: Record | None, replaced: str | None
) -> None:
    assert _seen(record=record).replaced == replaced


def test_only_variants_whose_version_and_artifact_are_known_are_pinned() -> None:
    variants = {
        "a": VariantSeen("m", ready=True, number="1", digest="sha256:a"),
        "b": VariantSeen("m", ready=True, number="2"),
        "c": VariantSeen("m", ready=True, digest="sha256:c"),
    }
    assert _seen(variants=variants).start("t") == KeepStart(
        Record("t", pins={"a": Pin("1", "sha256:a")}, terms=terms_of(EXPERIMENT))
    )


def test_the_record_tells_when_counting_began_before_the_status_does() -> None:
    assert _seen().started_at is None
    assert _seen(previous=ABExperimentStatus(started_at="earlier")).started_at == "earlier"
    assert _seen(previous=ABExperimentStatus(started_at="earlier"), record=PINNED).started_at == STARTED


def test_nothing_is_routed_until_the_router_said_so() -> None:
    assert not _seen().route.has_arrived
