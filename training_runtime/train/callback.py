"""The one callback that ties Hugging Face's trainer to the job: checkpoints, guards, stopping, logs, the spool."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from training_runtime.errors import PlanError
from training_runtime.plan import Plan
from training_runtime.tracking import Spool

from .checkpoints import CommittedCheckpoints, is_first, last_commit
from .device import device_metrics
from .heartbeat import Heartbeat
from .strategy import Strategy
from .watch import StopRequest, best_step, check_loss, is_exhausted, watched_metric, with_perplexity

if TYPE_CHECKING:
    from transformers import TrainerCallback
    from trl import SFTTrainer

__all__ = ["Course", "make_callback"]

_WRAPPERS = {
    "DDP": "DistributedDataParallel",
    "ZeRO1": "DeepSpeedEngine",
    "ZeRO2": "DeepSpeedEngine",
    "ZeRO3": "DeepSpeedEngine",
}


class Course:
    """How a training goes: what the callback notes for the stage."""

    def __init__(self, plan: Plan, checkpoints: CommittedCheckpoints, strategy: Strategy) -> None:
        self.plan = plan
        self.checkpoints = checkpoints
        self.strategy = strategy
        self.preempted = False
        self.began_at = 0
        self.heartbeat = Heartbeat(plan.training.guards.stalled_after_seconds)
        self.metric = watched_metric(plan.training.early_stopping)
        self.stop = StopRequest()
        self.spool = Spool(plan) if is_first() else None

    def assert_shared_out(self, trainer: "SFTTrainer") -> None:
        """Raise PlanError where the libraries did not share the work out as asked, which some do silently."""
        processes = self.plan.distributed.nodes * self.plan.distributed.processes_per_node
        if trainer.accelerator.num_processes != processes:
            raise PlanError(f"{trainer.accelerator.num_processes} processes train where the plan asks for {processes}")
        wrapped = type(trainer.model_wrapped)
        wanted = _WRAPPERS.get(self.strategy)
        if self.strategy == "FSDP":
            from torch.distributed.fsdp import FSDPModule

            fits = issubclass(wrapped, FSDPModule)
        else:
            fits = wanted is None or wrapped.__name__ == wanted
        if not fits:
            raise PlanError(f"the model is wrapped in {wrapped.__name__}, which is not {self.strategy}")


def make_callback(course: Course, trainer: "SFTTrainer") -> "TrainerCallback":
    """Return the callback; Transformers is imported only here."""
    from transformers import TrainerCallback

    return type("JobCallback", (_Job, TrainerCallback), {})(course, trainer)


class _Job:
    """Trainer calls it between the parts of a step, on every process."""

    def __init__(self, course: Course, trainer: "SFTTrainer") -> None:
        self._course = course
        self._trainer = trainer
        self._since = (0.0, 0.0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self._course.assert_shared_out(self._trainer)
        self._course.began_at = state.global_step
        if self._course.spool:
            self._course.spool.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self._course.heartbeat.step()
        if self._course.stop.agreed():
            self._course.preempted = state.global_step < state.max_steps
            control.should_save = True
            control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self._course.heartbeat.beat()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self._course.heartbeat.stop()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        rule = self._course.plan.training.early_stopping
        if rule and is_exhausted(state.log_history, rule):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        course, step = self._course, state.global_step
        course.heartbeat.beat()
        best = best_step(state.log_history, course.metric)
        course.checkpoints.take_over(step, best, lambda: say("checkpoint", step=step))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        check_loss(state.log_history, self._course.plan.training.guards)
        if self._course.spool is None:
            return
        numbers = with_perplexity({name: value for name, value in logs.items() if isinstance(value, (int, float))})
        if "loss" in numbers:
            numbers |= self._speed(numbers) | device_metrics()
        # The trainer's own history, and the progress reporter, which comes after, say it too.
        logs |= numbers | self._standing()
        state.log_history[-1] |= numbers
        self._course.spool.add(state.global_step, numbers)
        say("log", step=state.global_step, **numbers)

    def _standing(self) -> dict[str, float]:
        """What the job's status tells beside the numbers: where this attempt began, and what it would go on from."""
        committed = last_commit(self._course.plan.workspace)
        saved = {"checkpoint_step": committed[0], "checkpoint_time": committed[1]} if committed else {}
        return {"resumed_from_step": self._course.began_at, **saved}

    def _speed(self, numbers: dict[str, float]) -> dict[str, float]:
        """Tokens per second since the line before; the first line of a run, which compiles, has none."""
        (before, tokens), now = self._since, time.monotonic()
        self._since = (now, numbers.get("num_tokens", 0.0))
        return {"tokens_per_second": (self._since[1] - tokens) / (now - before)} if before else {}


def say(event: str, **facts: object) -> None:
    """Write one line of JSON, on the process that speaks for all; a person at a terminal has the progress bar."""
    if is_first() and not sys.stdout.isatty():
        print(json.dumps({"event": event, **facts}, ensure_ascii=False), flush=True)
