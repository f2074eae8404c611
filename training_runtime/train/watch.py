"""What is watched while training: the loss, the best step so far, a request to stop; and what each log line says.

Everything here is worked out from the trainer's own log, which a checkpoint carries: so it is the same after a resume.
"""

import math
import signal
import statistics
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from training_runtime.errors import DivergedError
from training_runtime.plan import EarlyStoppingPlan, GuardsPlan, WatchedMetric

__all__ = ["StopRequest", "best_step", "check_loss", "is_done", "is_exhausted", "watched_metric", "with_perplexity"]

_MIN_SPIKE_LOSSES = 5
"""Losses that must be there before one of them can be called high."""

_METRICS: dict[WatchedMetric, str] = {"Loss": "eval_loss", "TokenAccuracy": "eval_mean_token_accuracy"}
Log = Sequence[Mapping[str, float]]


def check_loss(log: Log, guards: GuardsPlan) -> None:
    """Raise DivergedError where the newest loss is no number, or far above the recent ones."""
    losses = [(int(entry["step"]), entry["loss"]) for entry in log if "loss" in entry]
    if not losses:
        return
    step, loss = losses[-1]
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is {loss} at step {step}: lower training.learningRate, or use BF16 for FP16")
    recent = [value for _, value in losses[-1 - guards.spike_window : -1]]
    if guards.spike_factor and len(recent) >= _MIN_SPIKE_LOSSES:
        usual = statistics.median(recent)
        if loss > guards.spike_factor * usual:
            raise DivergedError(
                f"the loss rose to {loss:.4g} at step {step}, more than {guards.spike_factor:g} times the recent "
                f"{usual:.4g}: lower training.learningRate or training.maxGradNorm"
            )


def watched_metric(rule: EarlyStoppingPlan | None) -> str:
    """Return the trainer's name for what says which step is best."""
    return _METRICS[rule.metric if rule else "Loss"]


def best_step(log: Log, metric: str) -> int | None:
    """Return the step with the best value so far: the lowest of a loss, the highest of anything else."""
    values = [(entry[metric], int(entry["step"])) for entry in log if metric in entry and math.isfinite(entry[metric])]
    if not values:
        return None
    lowest = metric.endswith(("loss", "perplexity"))
    return min(values, key=lambda pair: (pair[0] if lowest else -pair[0], pair[1]))[1]


def is_exhausted(log: Log, rule: EarlyStoppingPlan) -> bool:
    """Whether validation has not become better for `patience` evaluations."""
    metric = watched_metric(rule)
    steps = [int(entry["step"]) for entry in log if metric in entry]
    best = best_step(log, metric)
    return best is not None and sum(step > best for step in steps) >= rule.patience


def is_done(state: Mapping[str, Any], rule: EarlyStoppingPlan | None) -> bool:
    """Whether the trainer's state in a checkpoint leaves nothing to train."""
    stopped = rule is not None and is_exhausted(state["log_history"], rule)
    return stopped or int(state["global_step"]) >= int(state["max_steps"])


def with_perplexity(logs: Mapping[str, float]) -> dict[str, float]:
    """Add the perplexity, e to the validation loss, where one was measured."""
    loss = logs.get("eval_loss")
    return {**logs, "eval_perplexity": math.exp(min(loss, 50.0))} if loss is not None else dict(logs)


class StopRequest:
    """Turns signals into a flag that the training loop looks at between two steps."""

    def __init__(self) -> None:
        self._requested = False
        # SIGTERM is for a process alone; the launcher sends its processes SIGUSR1, as torchrun's SIGTERM means that
        # another process has failed.
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self._requested = True

    def agreed(self) -> bool:
        """Whether any process was asked to stop; all processes call this at the same step, and all get one answer."""
        import torch
        from torch import distributed

        if not distributed.is_initialized():
            return self._requested
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        flag = torch.tensor([int(self._requested)], device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item())
