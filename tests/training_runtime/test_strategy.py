"""The strategy is the simplest that fits, and impossible wishes are refused."""

from typing import Any

import pytest

from training_runtime.errors import DivergedError, PlanError
from training_runtime.plan import EarlyStoppingPlan, GuardsPlan
from training_runtime.train.strategy import choose
from training_runtime.train.watch import best_step, check_loss, is_exhausted, with_perplexity

from .conftest import MakePlan

LORA = {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": ["all-linear"]}
H100 = 80 * 2**30


@pytest.mark.parametrize(
    ("parameters", "changes", "gpu", "strategy"),
    [
        (8e9, {"processes_per_node": 1}, H100, "Single"),
        (8e9, {"processes_per_node": 1, "strategy": "DDP"}, H100, "Single"),
        (8e9, {"processes_per_node": 8, "lora": LORA}, H100, "DDP"),
        (32e9, {"processes_per_node": 8, "lora": LORA}, H100, "ZeRO3"),
        (32e9, {"processes_per_node": 8, "lora": LORA, "quantization": {"bits": 4}}, H100, "DDP"),
        (3e9, {"processes_per_node": 8}, H100, "DDP"),
        (8e9, {"processes_per_node": 8}, H100, "ZeRO2"),
        (32e9, {"processes_per_node": 8, "nodes": 2}, H100, "ZeRO3"),
        (8e9, {"processes_per_node": 2}, 0, "DDP"),
        (8e9, {"processes_per_node": 2, "strategy": "FSDP"}, H100, "FSDP"),
        (8e9, {"processes_per_node": 2, "strategy": "ZeRO3", "offload": "Parameters"}, H100, "ZeRO3"),
    ],
)
def test_the_simplest_that_fits_is_chosen(
    make_plan: MakePlan, parameters: float, changes: dict[str, Any], gpu: int, strategy: str
) -> None:
    whole = {name: changes.pop(name) for name in ("lora", "quantization") if name in changes}
    plan = make_plan(**whole, **{f"distributed__{name}": value for name, value in changes.items()})
    choice = choose(plan, int(parameters), gpu)
    assert choice.strategy == strategy
    assert choice.why


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"distributed__offload": "Optimizer", "distributed__strategy": "DDP"},
            "needs strategy ZeRO2 or ZeRO3, not DDP",
        ),
        ({"distributed__offload": "Parameters", "distributed__strategy": "ZeRO2"}, "offload: Parameters needs"),
        ({"quantization": {"bits": 4}, "lora": LORA, "distributed__strategy": "ZeRO3"}, "quantized weights cannot be"),
    ],
)
def test_what_cannot_work_together_is_refused(make_plan: MakePlan, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        choose(make_plan(**changes), 10**9, H100)


def _log(*losses: float, name: str = "loss") -> list[dict[str, float]]:
    return [{"step": step, name: loss} for step, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    ("losses", "guards", "message"),
    [
        ([1.0, float("nan")], GuardsPlan(), "the loss is nan at step 2"),
        ([float("inf")], GuardsPlan(), "the loss is inf at step 1"),
        ([1.0] * 6 + [5.0], GuardsPlan(spike_factor=3), "the loss rose to 5 at step 7, more than 3 times"),
        ([1.0] * 6 + [5.0], GuardsPlan(spike_factor=6), None),
        ([1.0] * 6 + [5.0], GuardsPlan(), None),
        ([1.0, 5.0], GuardsPlan(spike_factor=3), None),
        ([9.0] * 50 + [1.0] * 10 + [5.0], GuardsPlan(spike_factor=3, spike_window=10), "at step 61"),
        ([], GuardsPlan(), None),
    ],
)
def test_a_loss_that_goes_wrong_ends_the_training(losses: list[float], guards: GuardsPlan, message: str | None) -> None:
    if message is None:
        check_loss(_log(*losses), guards)
        return
    with pytest.raises(DivergedError, match=message):
        check_loss(_log(*losses), guards)


def test_the_best_step_is_the_lowest_loss_or_the_highest_score() -> None:
    assert best_step(_log(3, 1, 2, name="eval_loss"), "eval_loss") == 2
    assert best_step(_log(3, 1, 2, name="eval_accuracy"), "eval_accuracy") == 1
    assert best_step(_log(float("nan"), name="eval_loss"), "eval_loss") is None


@pytest.mark.parametrize(
    ("losses", "stops"), [([3, 2, 1], False), ([1, 2, 2], True), ([1, 2], False), ([3, 1, 2, 3], True)]
)
def test_patience_counts_evaluations_since_the_best(losses: list[float], *, stops: bool) -> None:
    assert is_exhausted(_log(*losses, name="eval_loss"), EarlyStoppingPlan(patience=2)) is stops


def test_perplexity_stands_beside_the_validation_loss() -> None:
    assert with_perplexity({"eval_loss": 0.0}) == {"eval_loss": 0.0, "eval_perplexity": 1.0}
    assert with_perplexity({"loss": 1.0}) == {"loss": 1.0}
