"""What MLflow keeps of an experiment: all of it, in what its database takes."""

import math
from datetime import UTC, datetime

import pytest

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.decide.comparison import Comparison, Sample
from anneal_operator.decide.experiment_sample import decision_of
from anneal_operator.decide.observed_experiment import Observations, Pin, Record
from anneal_operator.reconcile.experiment_records import remembered_in, text_of

COLUMN = 5000
"""Characters of `registered_model_tags.value` in MLflow's database; its client lets 100,000 pass."""


def _largest_spec(direction: str) -> ABExperimentSpec:
    """As many variants as the API takes, and every name as long as it may be."""
    most = ABExperimentSpec.model_json_schema()["properties"]["variants"]["maxItems"]
    names = [f"{number:x}".rjust(63, "v") for number in range(most)]
    return ABExperimentSpec.parse(
        {
            "modelName": "m" * 63,
            "control": names[0],
            "variants": [{"name": name, "modelVersionRef": {"name": name}, "weight": 10000} for name in names],
            "metrics": {"primary": {"name": "r" * 63, "direction": direction}},
            "stopping": {"confidence": 0.9999},
        }
    )


def _largest(direction: str, sign: float) -> Record:
    """The record of a decision whose numbers have as many digits as there are."""
    spec, number = _largest_spec(direction), sign * math.nextafter(1e300, math.inf)
    names = [variant.name for variant in spec.variants]
    counted = dict.fromkeys(names, 2**63)
    observed = Observations(counted, counted, {name: Sample(2**63, number, -number) for name in names})
    compared = {name: Comparison(number, number, number, 1.2e-300) for name in names[1:]}
    decision = decision_of(spec, observed, compared, datetime(2026, 3, 1, tzinfo=UTC))
    assert decision is not None
    pins = {name: Pin(str(2**31), "sha256:" + "f" * 64) for name in names}
    return Record("2026-03-01T12:00:00Z", decision, pins, is_closed=True, uid="u" * 36)


@pytest.mark.parametrize("direction", ["Increase", "Decrease"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_largest_record_fits_into_a_tag_of_mlflow_s_and_is_read_again(direction: str, sign: float) -> None:
    record = _largest(direction, sign)
    assert len(text_of(record)) <= COLUMN
    assert remembered_in(text_of(record)) == record


def test_a_record_has_no_characters_to_spare() -> None:
    assert text_of(Record("t")) == '{"closed":false,"decision":null,"startedAt":"t","uid":"","variants":{}}'
