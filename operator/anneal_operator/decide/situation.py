"""One FineTuneJob at one moment: what was observed, and what follows from it at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from anneal_operator.api.fine_tune_job_status import Attempts, FineTuneJobStatus
from anneal_operator.api.schema import timestamp
from training_runtime.plan import Prepared, Stage

from .active_time import active_seconds
from .attempts import merged_attempts
from .engine import Choice, chosen_engine
from .observed_job import STAGES, ObservedJob, ObservedStage
from .stages import StageState, read_stage

__all__ = ["PHASES", "Situation", "read_stages"]

PHASES: dict[Stage, str] = {
    "prepare": "Preparing",
    "train": "Running",
    "evaluate": "Evaluating",
    "publish": "Publishing",
}


@dataclass(frozen=True)
class Situation:
    """Read once, so that every rule judges the same."""

    seen: ObservedJob
    states: Mapping[Stage, StageState]
    attempts: Attempts | None
    seconds_left: float | None
    """Until the deadline; None where there is none."""
    now: datetime

    @classmethod
    def of(cls, seen: ObservedJob, now: datetime) -> "Situation":
        """Read what was observed."""
        train = seen.stages.get("train", ObservedStage())
        attempts = merged_attempts(
            seen.previous.attempts,
            [*seen.earlier, *([train] if train.job else [])],
            seen.gpus,
            timestamp(now),
            is_suspended=seen.spec.suspend or seen.previous.phase == "Suspended",
            report=seen.report,
        )
        deadline = seen.spec.active_deadline_seconds
        left = None if deadline is None else deadline - active_seconds(seen.previous, now)
        return cls(seen, read_stages(seen.previous, seen.stages), attempts, left, now)

    @property
    def next_attempt(self) -> int:
        """The number of the attempt that may be made next."""
        newest = self.seen.stages.get("train", ObservedStage()).attempt
        return max(newest, self.attempts.total if self.attempts else 0) + 1

    @property
    def is_overdue(self) -> bool:
        """Whether the deadline has passed."""
        return self.seconds_left is not None and self.seconds_left <= 0

    @property
    def answering(self) -> Choice:
        """Who answers evaluation's questions; the trainer of a plan that names no image for vLLM cannot ask it."""
        seen, prepared, told = self.seen, self.states["prepare"].result, self.seen.previous.dataset
        if seen.plan and not seen.plan.engine_image:
            return Choice("Transformers")
        if isinstance(prepared, Prepared):
            return chosen_engine(seen.spec, prepared.test)
        return chosen_engine(seen.spec, told.splits.test if told else seen.spec.evaluation.max_rows)

    @property
    def next_stage(self) -> Stage:
        """The first stage that has not succeeded."""
        return next((stage for stage in STAGES if self.states[stage].state != "Succeeded"), "publish")


def read_stages(previous: FineTuneJobStatus, found: Mapping[Stage, ObservedStage]) -> dict[Stage, StageState]:
    """Return how each stage stands.

    One is passed where its result is in the status, or a later one has a Job, or was the job's phase when its status
    was written: then this one's result was read.
    """
    read = {
        "prepare": previous.dataset is not None,
        "train": bool(previous.attempts and any(found.reason == "Completed" for found in previous.attempts.last)),
        "evaluate": previous.evaluation is not None,
    }
    begun = {stage for stage, work in found.items() if work.job}
    begun |= {stage for stage, phase in PHASES.items() if phase == previous.phase}
    begun |= {"train"} if previous.attempts else set()
    return {
        stage: read_stage(
            stage,
            found.get(stage, ObservedStage()),
            is_passed=read.get(stage, False) or any(later in begun for later in STAGES[number:]),
        )
        for number, stage in enumerate(STAGES, 1)
    }
