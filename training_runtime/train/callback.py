"""The one callback that ties Hugging Face's trainer to the job: checkpoints, guards, stopping, logs, the spool."""

import time
from typing import TYPE_CHECKING, Any

from training_runtime.errors import PlanError
from training_runtime.plan import Plan
from training_runtime.tracking import Spool
from training_runtime.workspace import checkpoints_folder

from .checkpoints import CommittedCheckpoints, last_commit
from .device import device_metrics
from .heartbeat import Heartbeat
from .processes import log_event
from .results import run_parameters
from .strategy import Strategy, check_applied
from .watch import StopRequest, best_step, check_loss, is_exhausted, watched_metric, with_perplexity

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["add_callback"]


def add_callback(
    trainer: "SFTTrainer",
    plan: Plan,
    strategy: Strategy,
    checkpoints: CommittedCheckpoints,
    stop: StopRequest,
    spool: Spool | None,
) -> "_JobCallback":
    """Have the trainer call back from now on; Transformers is imported only here."""
    from transformers import TrainerCallback

    kind = type("JobCallback", (_JobCallback, TrainerCallback), {})
    callback: _JobCallback = kind(trainer, plan, strategy, checkpoints, stop, spool)
    trainer.callback_handler.callbacks.insert(1, callback)  # before those that report what it adds
    return callback


class _JobCallback:
    """Trainer calls it between the parts of a step, on every process; `spool` is the first one's alone."""

    def __init__(
        self,
        trainer: "SFTTrainer",
        plan: Plan,
        strategy: Strategy,
        checkpoints: CommittedCheckpoints,
        stop: StopRequest,
        spool: Spool | None,
    ) -> None:
        self._trainer = trainer
        self._plan = plan
        self._strategy = strategy
        self._checkpoints = checkpoints
        self._stop = stop
        self._spool = spool
        self._first_step = 0
        self._last_line = (0.0, 0.0)
        """When the line before was logged, and how many tokens had been trained on by then."""
        self.heartbeat = Heartbeat(plan.training.guards.stalled_after_seconds)
        self.preempted = False
        """Whether the training was asked to stop before its last step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        check_applied(self._plan, self._strategy, self._trainer)
        if self._plan.training.resume_from and not state.log_history and state.global_step >= state.max_steps:
            raise PlanError(
                f"training.resumeFrom: the checkpoint is of step {state.global_step}, and with this data the training "
                f"has {state.max_steps} steps: raise training.epochs"
            )
        self._first_step = state.global_step
        if self._spool:
            self._spool.add_parameters(run_parameters(self._plan, self._strategy, self._trainer))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self.heartbeat.step()
        if self._stop.agreed():
            self.preempted = state.global_step < state.max_steps
            control.should_save = True
            control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self.heartbeat.beat()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        self.heartbeat.begin_end()

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        rule = self._plan.training.early_stopping
        if rule and best_step(state.log_history, watched_metric(rule)) == state.global_step:
            control.should_save = True  # the weights of the best evaluation are the result, so they must be there
        if rule and is_exhausted(state.log_history, rule):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        step = state.global_step
        self.heartbeat.beat()
        best = best_step(state.log_history, watched_metric(self._plan.training.early_stopping))
        self._checkpoints.submit(step, best, lambda: log_event("checkpoint", step=step))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Trainer's
        check_loss(state.log_history, self._plan.training.guards)
        if self._spool is None:
            return
        metrics = with_perplexity({name: value for name, value in logs.items() if isinstance(value, (int, float))})
        if "loss" in metrics:
            metrics |= self._speed(metrics) | device_metrics()
        # The trainer's own history, and the progress reporter, which comes after, say it too.
        logs |= metrics | self._resumption()
        state.log_history[-1] |= metrics
        self._spool.add(state.global_step, metrics)
        log_event("log", step=state.global_step, **metrics)

    def _resumption(self) -> dict[str, float]:
        """What the job's status tells beside the metrics: where this attempt began, and what is saved."""
        committed = last_commit(checkpoints_folder(self._plan))
        saved = {"checkpoint_step": committed[0], "checkpoint_time": committed[1]} if committed else {}
        return {"resumed_from_step": self._first_step, **saved}

    def _speed(self, metrics: dict[str, float]) -> dict[str, float]:
        """Tokens per second since the line before; the first line of a run, which compiles, has none."""
        (before, tokens), now = self._last_line, time.monotonic()
        self._last_line = (now, metrics.get("num_tokens", 0.0))
        return {"tokens_per_second": (self._last_line[1] - tokens) / (now - before)} if before else {}
