"""What the models accept and refuse; the API server is asked the same in tests/e2e/test_api.py."""

import copy
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from anneal_operator.api.dataset import Entity
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from training_runtime.prepare.pii import Kind

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
    assert (spec.tuning.method, spec.training.learning_rate, spec.dataset.pii.action) == ("lora", 2e-4, "Mask")


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


def test_a_status_that_cannot_be_read_counts_as_none() -> None:
    assert FineTuneJobStatus.read({"phase": "Unheard", "progress": 5}) == FineTuneJobStatus()


def test_the_kinds_of_personal_data_are_those_that_are_found() -> None:
    assert set(get_args(Entity)) == set(Kind.__members__)
