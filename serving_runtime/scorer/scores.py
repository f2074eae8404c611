"""Scores on their way to the recorder, and what became of answers: kept while it is away, as far as there is room."""

import asyncio
import logging
from collections import Counter, deque

from .recorder import Recorder, RecorderError, Score

__all__ = ["Scores"]

_MOST, _TOGETHER, _PERIOD_SECONDS = 20_000, 500, 0.5
log = logging.getLogger("scorer")


class Scores:
    """What the recorder is yet to be told."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._scores: deque[Score] = deque(maxlen=_MOST)
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._was_away = False

    def add(self, score: Score) -> None:
        """Tell it once the recorder takes it."""
        self._scores.append(score)

    def count(self, experiment: str, metric: str, what: str) -> None:
        """Count what became of an answer: `taken`, `scored`, `failed` or `dropped`."""
        self._counts.setdefault((experiment, metric), Counter())[what] += 1

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            try:
                await self._tell()
                self._was_away = False
            except RecorderError as error:
                if not self._was_away:
                    log.warning("the recorder takes no scores, which wait: %s", error)
                self._was_away = True

    async def _tell(self) -> None:
        while self._scores:
            first = [self._scores[place] for place in range(min(_TOGETHER, len(self._scores)))]
            await asyncio.to_thread(self._recorder.store, first)
            for one in first:
                if self._scores and self._scores[0] is one:  # else it made room meanwhile
                    self._scores.popleft()
        for key in list(self._counts):
            await asyncio.to_thread(self._recorder.report, *key, dict(self._counts[key]))
            del self._counts[key]
