"""Answers on their way to scores: what comes is taken or dropped at once, and nobody waits for it.

They are scored in turn. What does not fit is dropped and counted; that says nothing of the variant, which is not known
here.
"""

import asyncio
import logging
from statistics import fmean

from jsonschema.protocols import Validator

from serving_runtime.plan import BUCKETS, bucket
from serving_runtime.scoring import Answered, ScoredMetric, ScoringPlan

from .answers import choices_of
from .recorder import Recorder, Score
from .refusals import is_refusal
from .schemas import satisfies, validator
from .scores import Scores
from .waiting import Waiting

__all__ = ["Desk", "is_sampled", "worth"]

log = logging.getLogger("scorer")


def is_sampled(experiment: str, exposure: str, percent: int) -> bool:
    """Whether an answer is of the share that is scored: a matter of its id alone, the same here and in routers, so
    that of two metrics of one experiment the smaller share is a part of the larger.
    """
    return bucket(f"scores/{experiment}", exposure) < BUCKETS // 100 * percent


def worth(answered: Answered, judging: Validator | None) -> float | None:
    """Return the share of what was said that satisfies a schema, or without one declines; None where functions were
    called and nothing was said.
    """
    choices = choices_of(answered)
    if judging is None:
        return fmean(map(is_refusal, choices))
    satisfied = [satisfies(judging, one.said) for one in choices if not one.is_call]
    return fmean(satisfied) if satisfied else None


class Desk:
    """Takes answers, and sees to it that they are scored."""

    def __init__(self, plan: ScoringPlan, recorder: Recorder) -> None:
        self._plan = plan
        self._told = Scores(recorder)
        self._waiting = Waiting()
        self._validators: dict[str, Validator] = {}

    def take(self, answered: Answered) -> None:
        """Have an answer scored by the metrics whose sample it is of."""
        for metric in self._plan.experiments.get(answered.experiment, ()):
            if is_sampled(answered.experiment, answered.exposure, metric.percent):
                self._count(answered, metric, "taken")
                if not self._waiting.put(metric, answered):
                    self._count(answered, metric, "dropped")

    async def run(self) -> None:
        """Score until cancelled; what waits then is forgotten."""
        await asyncio.gather(self._told.run(), self._score_all())

    async def _score_all(self) -> None:
        while True:
            metric, answered = await self._waiting.get()
            try:
                value = await asyncio.to_thread(self._score, metric, answered)
            except Exception as error:  # noqa: BLE001 - whatever an answer holds; nothing of that may be told
                log.warning("%s could not score an answer: %s", metric.name, type(error).__name__)
                self._count(answered, metric, "failed")
                continue
            if value is not None:
                self._told.add(Score(answered.exposure, metric.name, value))
                self._count(answered, metric, "scored")

    def _score(self, metric: ScoredMetric, answered: Answered) -> float | None:
        if metric.source == "Refusals":
            return worth(answered, None)
        if metric.response_schema not in self._validators:
            self._validators[metric.response_schema] = validator(metric.response_schema)
        return worth(answered, self._validators[metric.response_schema])

    def _count(self, answered: Answered, metric: ScoredMetric, what: str) -> None:
        self._told.count(answered.experiment, metric.name, what)
