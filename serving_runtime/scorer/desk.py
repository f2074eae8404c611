"""Answers on their way to scores: what comes is taken or dropped at once, and nobody waits for it.

What needs no judge is scored in turn. Each judge has a queue of its own, so one that hangs holds up nothing else. What
does not fit is dropped and counted; that says nothing of the variant, which is not known here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import fmean

from jsonschema.protocols import Validator

from serving_runtime.plan import BUCKETS, bucket
from serving_runtime.scoring import JUDGE_KEYS_FOLDER, Answered, ScoredMetric, ScoringPlan

from .answers import Choice, choices_of, conversation_of
from .judge import JudgeError, Judging
from .recorder import Recorder, RecorderError, Score
from .refusals import is_refusal
from .schemas import satisfies, validator
from .scores import Scores
from .waiting import Waiting

__all__ = ["Desk", "is_sampled"]

_JUDGED_AT_ONCE, _TRIES = 4, 3
log = logging.getLogger("scorer")
_Scorer = Callable[[ScoredMetric, Answered], Awaitable[float | None]]


def is_sampled(experiment: str, exposure: str, percent: int) -> bool:
    """Whether an answer is of the share that is scored: a matter of its id alone, the same here and in routers, so
    that of two metrics of one experiment the smaller share is a part of the larger.
    """
    return bucket(f"scores/{experiment}", exposure) < BUCKETS // 100 * percent


class Desk:
    """Takes answers, and sees to it that they are scored."""

    def __init__(
        self, plan: ScoringPlan, recorder: Recorder, keys: Path = Path(JUDGE_KEYS_FOLDER), pause: float = 1.0
    ) -> None:
        """`pause`: how many seconds pass before a judge is asked again, the first time."""
        self._plan, self._recorder, self._keys, self._pause = plan, recorder, keys, pause
        self._told = Scores(recorder)
        self._plain = Waiting()
        judged = ((uid, one.name) for uid, metrics in plan.experiments.items() for one in metrics if one.judge)
        self._judged = {key: Waiting() for key in judged}
        self._validators: dict[str, Validator] = {}

    def take(self, answered: Answered) -> None:
        """Have an answer scored by the metrics whose sample it is of."""
        for metric in self._plan.experiments.get(answered.experiment, ()):
            if not is_sampled(answered.experiment, answered.exposure, metric.percent):
                continue
            self._count(answered, metric, "taken")
            queue = self._judged.get((answered.experiment, metric.name), self._plain)
            if not queue.put(metric, answered):
                self._count(answered, metric, "dropped")

    async def run(self) -> None:
        """Score until cancelled; what waits then is forgotten."""
        judging = [self._work(queue, self._graded) for queue in self._judged.values() for _ in range(_JUDGED_AT_ONCE)]
        await asyncio.gather(self._told.run(), self._work(self._plain, self._plainly), *judging)

    async def _work(self, queue: Waiting, score: _Scorer) -> None:
        while True:
            metric, answered = await queue.get()
            try:
                value = await score(metric, answered)
            except Exception as error:  # noqa: BLE001 - whatever an answer holds; nothing of that may be told
                log.warning("%s could not score an answer: %s", metric.name, _why(error))
                self._count(answered, metric, "failed")
                continue
            if value is not None:
                self._told.add(Score(answered.exposure, metric.name, value))
                self._count(answered, metric, "scored")

    async def _plainly(self, metric: ScoredMetric, answered: Answered) -> float | None:
        return await asyncio.to_thread(self._worth, metric, answered)

    def _worth(self, metric: ScoredMetric, answered: Answered) -> float | None:
        choices = choices_of(answered)
        if metric.source == "Refusals":
            return fmean(map(is_refusal, choices))
        if metric.response_schema not in self._validators:
            self._validators[metric.response_schema] = validator(metric.response_schema)
        judging = self._validators[metric.response_schema]
        return _mean([satisfies(judging, one.said) for one in choices if not one.is_call])

    async def _graded(self, metric: ScoredMetric, answered: Answered) -> float | None:
        """A judge's mean over what was said; None without budget, or where only functions were called."""
        if metric.judge is None:
            return None
        judging = Judging(metric.judge, self._keys)
        conversation = conversation_of(answered)
        grades = []
        for choice in choices_of(answered):
            if choice.is_call:
                continue
            grade = await self._grade(metric, answered, judging, conversation, choice)
            if grade is None:
                self._count(answered, metric, "dropped")
                return None
            grades.append(grade)
        return _mean(grades)

    async def _grade(
        self,
        metric: ScoredMetric,
        answered: Answered,
        judging: Judging,
        conversation: list[dict[str, str]],
        choice: Choice,
    ) -> float | None:
        """Each try takes from the budget; where the recorder does not say that there is any, there is none."""
        for tries in range(1, _TRIES + 1):
            ask = (answered.experiment, metric.name, judging.plan.most_a_day)
            if not await asyncio.to_thread(self._recorder.may_ask, *ask):
                return None
            try:
                return await asyncio.to_thread(judging.grade, conversation, choice.said or choice.refusal)
            except JudgeError as error:
                if tries == _TRIES or not error.passes:
                    raise
            await asyncio.sleep(self._pause * 2 ** (tries - 1))
        return None

    def _count(self, answered: Answered, metric: ScoredMetric, what: str) -> None:
        self._told.count(answered.experiment, metric.name, what)


def _mean(values: list[bool] | list[float]) -> float | None:
    return fmean(values) if values else None


def _why(error: Exception) -> str:
    """In words that hold nothing of an answer."""
    if isinstance(error, JudgeError):
        return error.why
    return str(error) if isinstance(error, RecorderError) else type(error).__name__
