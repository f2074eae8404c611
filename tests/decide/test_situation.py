"""What follows at once from what was observed of a job: who answers, and which results were read."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus, Splits
from anneal_operator.decide.fine_tune_job import decide

from .test_fine_tune_job import (
    ABSENT,
    ACTIVE,
    ATTEMPT_2,
    EVALUATED,
    LOST,
    NOW,
    SUSPEND,
    WITH_ENGINE,
    _seen,
    _steps,
    _training,
)

BY_VLLM: dict[str, Any] = {
    "evaluation": {"maxRows": 2000},
    "stages": {"train": {"resources": {"limits": {"nvidia.com/gpu": 1}}}},
}


def test_the_rows_that_preparation_found_decide_who_answers_and_that_is_told_with_its_image() -> None:
    told = decide(_seen(None, ACTIVE, ABSENT, ABSENT), NOW).status
    assert told.dataset is not None
    many = told.having(dataset=told.dataset.having(splits=Splits(train=1, validation=0, test=2000)))
    found = decide(_seen(LOST, None, ABSENT, ABSENT, spec=BY_VLLM, plan=WITH_ENGINE, previous=many), NOW)
    assert [getattr(step, "engine", None) for step in found.apply] == ["VLLM"]
    assert found.status.conditions[0].message.startswith("the model is being evaluated; vLLM answers the questions (in")
    assert found.status.provenance is not None
    assert found.status.provenance.images["answer"] == "server:1"
    older = decide(_seen(LOST, None, ABSENT, ABSENT, spec=BY_VLLM, previous=many), NOW)
    assert [getattr(step, "engine", None) for step in older.apply] == ["Transformers"], "its plan knows no vLLM"
    few = decide(_seen(None, None, ABSENT, ABSENT, spec=BY_VLLM, plan=WITH_ENGINE), NOW)
    assert [getattr(step, "engine", None) for step in few.apply] == ["Transformers"], "the pod said: one row"
    fewer = decide(_seen(LOST, None, ABSENT, ABSENT, spec=BY_VLLM, plan=WITH_ENGINE, previous=told), NOW)
    assert [getattr(step, "engine", None) for step in fewer.apply] == ["Transformers"], "the status says: one row"
    untold = decide(_seen(ABSENT, None, ABSENT, ABSENT, spec=BY_VLLM, plan=WITH_ENGINE), NOW)
    assert [getattr(step, "engine", None) for step in untold.apply] == ["VLLM"], "there may be as many as maxRows"
    assert few.status.conditions[0].message == "the model is being evaluated"
    assert few.status.provenance is not None
    assert "answer" not in few.status.provenance.images


def test_an_attempt_that_was_suspended_is_told_so_also_when_it_is_resumed_at_once() -> None:
    suspended = decide(_training(ACTIVE, spec=SUSPEND), NOW).status
    resumed = decide(_training(ABSENT, previous=suspended), NOW).status
    assert resumed.attempts is not None
    assert [attempt.reason for attempt in resumed.attempts.last] == ["Suspended"]


@pytest.mark.parametrize(
    ("previous", "steps"),
    [
        (FineTuneJobStatus(phase="Preparing"), ["delete Job the-job"]),
        (FineTuneJobStatus(phase="Running"), ["StartStage train"]),
        (FineTuneJobStatus(phase="Suspended", attempts=ATTEMPT_2), ["StartStage train"]),
        (FineTuneJobStatus(phase="Suspended", dataset=EVALUATED.dataset), ["StartStage train"]),
        (FineTuneJobStatus(phase="Suspended", attempts=EVALUATED.attempts), ["StartStage evaluate"]),
    ],
)
def test_the_status_tells_which_results_were_read(previous: FineTuneJobStatus, steps: list[str]) -> None:
    assert _steps(_seen(LOST, ABSENT, ABSENT, ABSENT, previous=previous)) == steps
