"""What the models accept and refuse; the API server is asked the same in tests/e2e/test_api.py."""

import copy
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from anneal_operator.api.ab_experiment_status import SampleRatio
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import EvaluationStatus, FineTuneJobStatus
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.quantities import amount, seconds
from training_runtime.plan import Entity
from training_runtime.prepare.pii import ENTITIES

from .specs import CASES, GOOD, Case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_spec_is_accepted_or_refused_for_its_one_reason(case: Case) -> None:
    if case.refused is None:
        case.model.parse(case.spec)
        return
    with pytest.raises(ValidationError) as caught:
        case.model.parse(case.spec)
    assert case.field in str(caught.value).replace("_", "").lower() or case.refused in str(caught.value)


def test_defaults_are_filled_in() -> None:
    spec = FineTuneJobSpec.parse(GOOD["FineTuneJob"])
    assert (spec.tuning.method, spec.training.learning_rate, spec.dataset.pii.action) == ("LoRA", 2e-4, "Mask")


def test_what_is_dumped_is_read_again() -> None:
    spec = FineTuneJobSpec.parse(GOOD["FineTuneJob"])
    assert FineTuneJobSpec.parse(spec.dump()) == spec


@pytest.mark.parametrize(
    ("field", "value"), [("tuning", None), ("tuning", {"lora": None}), ("training", {"epochs": None})]
)
def test_a_null_counts_as_left_out(field: str, value: Any) -> None:
    spec = copy.deepcopy(GOOD["FineTuneJob"]) | {field: value}
    assert FineTuneJobSpec.parse(spec) == FineTuneJobSpec.parse(GOOD["FineTuneJob"])


def test_a_required_field_may_not_be_null() -> None:
    with pytest.raises(ValidationError, match="Field required"):
        FineTuneJobSpec.parse(GOOD["FineTuneJob"] | {"output": None})


def test_what_a_newer_operator_wrote_survives_this_one() -> None:
    stored: dict[str, Any] = {
        "phase": "Unheard",
        "reason": "Unheard",
        "observedGeneration": 1,
        "conditions": [],
        "gpus": 0,
        "activeSeconds": 0,
        "more": {"inner": [1]},
        "failure": {"stage": "train", "class": "Unheard", "retryable": False, "message": "m", "hint": "h"},
    }
    assert FineTuneJobStatus.parse(stored).dump() == stored


def test_measurements_in_a_status_have_four_digits() -> None:
    assert SampleRatio(p_value=0.123456789).dump() == {"pValue": 0.1235}
    assert EvaluationStatus(metrics={"action/accuracy": 2 / 3}).dump()["metrics"] == {"action/accuracy": 0.6667}


@pytest.mark.parametrize(
    ("duration", "expected"), [("30s", 30), ("24h", 86400), ("1h30m", 5400), ("336h0m0s", 1209600), ("0s", 0)]
)
def test_a_duration_has_seconds(duration: str, expected: int) -> None:
    assert seconds(duration) == expected


@pytest.mark.parametrize(
    ("quantity", "expected"), [(8, 8), ("8", 8), ("500m", 0.5), ("1k", 1000), ("4Gi", 4 * 2**30), ("1.5", 1.5)]
)
def test_a_quantity_has_an_amount(quantity: int | str, expected: float) -> None:
    assert float(amount(quantity)) == expected


@pytest.mark.parametrize(
    ("wanted", "gpus"),
    [
        ({}, 0),
        ({"limits": {"nvidia.com/gpu": "8"}}, 8),
        ({"requests": {"amd.com/gpu": 2}, "limits": {"amd.com/gpu": 2, "rdma/hca": 1}}, 2),
        ({"limits": {"nvidia.com/mig-1g.10gb": 1}}, 1),
    ],
)
def test_the_gpus_of_a_pod_are_counted_by_their_resource(wanted: dict[str, Any], gpus: int) -> None:
    assert ResourceRequirements.parse(wanted).gpus == gpus


def test_the_kinds_of_personal_data_are_those_that_are_found() -> None:
    assert set(get_args(Entity)) == set(ENTITIES)
