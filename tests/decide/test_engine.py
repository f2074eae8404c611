"""Who answers evaluation's questions, as a table."""

from typing import Any

import pytest

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.decide.engine import chosen_engine

from .test_fine_tune_job import SPEC

GPU: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
GPUS: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": 2}}}
SCHEMA: dict[str, Any] = {**SPEC["dataset"], "responseSchema": {"type": "object"}}
CONSTRAINED: dict[str, Any] = {"suites": [{"name": "json", "type": "JSON", "constrained": True}]}
MANY: dict[str, Any] = {"maxRows": 2000}
OWN: dict[str, Any] = {"suites": [{"name": n, "type": "Text", "cases": f"configmap://cases/{n}"} for n in ("a", "b")]}

TEST_ROWS: dict[str, Any] = {"suites": [{"name": n, "type": "Text"} for n in ("a", "b")]}
TASKS: dict[str, Any] = {
    "suites": [{"name": n, "type": "Harness", "cases": f"pvc://tasks/{n}", "tasks": ["t"]} for n in ("a", "b")]
}


def _spec(evaluation: dict[str, Any], stages: dict[str, Any], **more: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.parse({**SPEC, "evaluation": evaluation, "stages": stages, **more})


@pytest.mark.parametrize(
    ("evaluation", "stages", "test_rows", "engine"),
    [
        ({}, {}, 10**6, "Transformers"),
        (MANY, {}, 10**6, "Transformers"),
        (CONSTRAINED, {}, 10, "VLLM"),
        ({"engine": "VLLM"}, {}, 10, "VLLM"),
        ({"engine": "Transformers", **MANY}, {"train": GPU}, 10**6, "Transformers"),
        ({}, {"train": GPU}, 10**6, "Transformers"),  # 500 rows
        (MANY, {"train": GPU}, 10**6, "VLLM"),
        (MANY, {"train": GPU}, 300, "Transformers"),
        (MANY, {"train": GPU, "evaluate": {"resources": {}}}, 10**6, "Transformers"),
        (MANY, {"evaluate": GPU}, 10**6, "VLLM"),
        ({**MANY, "maxNewTokens": 16}, {"train": GPU}, 10**6, "Transformers"),
        ({"maxRows": 100, "maxNewTokens": 2048}, {"train": GPU}, 10**6, "VLLM"),
        ({"maxNewTokens": 380}, {"train": GPU}, 10**6, "VLLM"),
        ({}, {"train": GPUS}, 10, "VLLM"),  # one of them may not hold the model
        ({**OWN, "maxRows": 300}, {"train": GPU}, 300, "VLLM"),
        ({"maxRows": 300}, {"train": GPU}, 300, "Transformers"),
        ({**TEST_ROWS, "maxRows": 300}, {"train": GPU}, 300, "Transformers"),
        ({**TASKS, "maxRows": 300}, {"train": GPU}, 300, "Transformers"),  # the harness counts its own
        ({"maxRows": 257, "maxNewTokens": 675}, {"train": GPU}, 10**6, "Transformers"),  # just as soon
        ({"maxRows": 257, "maxNewTokens": 676}, {"train": GPU}, 10**6, "VLLM"),
    ],
)
def test_the_engine_that_is_done_sooner_answers(
    evaluation: dict[str, Any], stages: dict[str, Any], test_rows: int, engine: str
) -> None:
    more = {"dataset": SCHEMA} if evaluation is CONSTRAINED else {}
    assert chosen_engine(_spec(evaluation, stages, **more), test_rows).engine == engine


def test_a_choice_says_why() -> None:
    found = chosen_engine(_spec({**MANY, "maxNewTokens": 267}, {"train": GPU}), 10**6)
    assert found.why == "in about 4 min, where Transformers would take 9 min"
    assert chosen_engine(_spec(CONSTRAINED, {}, dataset=SCHEMA), 1).why == "a suite is constrained"
    assert chosen_engine(_spec({"engine": "VLLM"}, {}), 1).why == ""


def test_one_model_alone_is_asked_for_less() -> None:
    """Passing the questions on is paid once, whoever is asked."""
    close: dict[str, Any] = {"maxRows": 500, "maxNewTokens": 380}
    assert chosen_engine(_spec(close, {"train": GPU}), 500).engine == "VLLM"
    assert chosen_engine(_spec({**close, "compareBase": False}, {"train": GPU}), 500).engine == "Transformers"
