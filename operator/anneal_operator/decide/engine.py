"""Who answers evaluation's questions, where a job leaves it open: the one that is predicted to be done sooner.

Nothing here was measured: the figures are assumptions about a model of some billions of parameters on one data-centre
GPU, made so that vLLM is taken where it wins clearly. Only their relation counts: a model with twice the time per step
has it with both. A job to which they do not apply says `Transformers` or `VLLM` itself. A stage of several GPUs has
them because the model needs them, and Transformers would lay it on one: vLLM answers there.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from anneal_operator.api.evaluation import Evaluation
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from training_runtime.plan import asks_rows

__all__ = ["Choice", "chosen_engine"]

_BATCH_ROWS = 64
"""Rows that the runtime asks through transformers at once; the longest answer keeps all of them."""
_STEP_SECONDS = 0.03
"""One token for each row of such a batch: bound by Python's overhead for each layer, whatever the batch (assumed)."""
_ENGINE_ROWS = 256
"""Rows that vLLM has at work at once, by its own default for offline use; on the largest GPUs it is 1,024."""
_ENGINE_STEP_SECONDS = 0.025
"""One token for each of those, without compiled graphs, as the runtime starts it (assumed)."""
_ENGINE_START_SECONDS = 60
"""Until it answers, for each model: imports, weights, profiling of the memory (assumed)."""
_PASSING_ON_SECONDS = 15
"""Two more containers in the pod: one that writes the questions, one that answers them (assumed)."""


@dataclass(frozen=True)
class Choice:
    """Who answers, and why, in words where there was a choice."""

    engine: Literal["Transformers", "VLLM"]
    why: str = ""


def chosen_engine(spec: FineTuneJobSpec, test_rows: int) -> Choice:
    """Return who answers; the same for the same spec and data, so that it is no other when a pod is made again."""
    evaluation = spec.evaluation
    if evaluation.engine != "Auto":
        return Choice(evaluation.engine)
    if any(suite.constrained for suite in evaluation.suites):
        return Choice("VLLM", "a suite is constrained")
    gpus = spec.stages.evaluation_resources.gpus
    if not gpus:
        return Choice("Transformers")
    if gpus > 1:
        return Choice("VLLM", "over all of the stage's GPUs")
    models = 2 if evaluation.compare_base and spec.base.initialize == "Pretrained" else 1
    rows = _rows(evaluation, test_rows)
    slow = models * _transformers_seconds(rows, evaluation.max_new_tokens)
    fast = models * _engine_seconds(sum(rows), evaluation.max_new_tokens) + _PASSING_ON_SECONDS
    if fast >= slow:
        return Choice("Transformers")
    return Choice("VLLM", f"in about {_minutes(fast)}, where Transformers would take {_minutes(slow)}")


def _rows(evaluation: Evaluation, test_rows: int) -> list[int]:
    """How many rows each set that is asked has: the test rows, and at most `maxRows` of each suite's own cases, which
    nobody has counted.
    """
    own = {suite.cases for suite in evaluation.suites if suite.cases and asks_rows(suite.type)}
    return [min(evaluation.max_rows, test_rows), *(evaluation.max_rows for _ in own)]


def _transformers_seconds(rows: list[int], tokens: int) -> float:
    return sum(ceil(count / _BATCH_ROWS) for count in rows) * tokens * _STEP_SECONDS


def _engine_seconds(rows: int, tokens: int) -> float:
    return _ENGINE_START_SECONDS + ceil(rows / _ENGINE_ROWS) * tokens * _ENGINE_STEP_SECONDS


def _minutes(seconds: float) -> str:
    return f"{round(seconds / 60)} min"
