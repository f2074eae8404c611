"""The recorder as a scorer knows it: where scores go, and what became of answers."""

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from serving_runtime.scoring import SCORES_PATH

__all__ = ["Recorder", "RecorderError", "Score"]

_TIMEOUT_SECONDS = 5.0
_LARGEST_ANSWER = 4096


class RecorderError(Exception):
    """The recorder did not say that it took what it was sent."""


@dataclass(frozen=True, slots=True)
class Score:
    """What an answer is worth by one metric."""

    exposure: str
    metric: str
    value: float


@dataclass(frozen=True)
class Recorder:
    """Asked over a connection for each request: there are few."""

    url: str
    key: str = field(repr=False)

    def store(self, scores: Sequence[Score]) -> None:
        """Have scores stored; sent again, each counts once."""
        told = [{"exposure": one.exposure, "metric": one.metric, "value": one.value} for one in scores]
        self._post(SCORES_PATH, {"scores": told})

    def report(self, experiment: str, metric: str, counts: Mapping[str, int]) -> None:
        """Tell what became of answers."""
        self._post(f"/experiments/{experiment}/scorings", {"metric": metric, **counts})

    def _post(self, path: str, told: Mapping[str, Any]) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, json.dumps(told), headers)
            answer = connection.getresponse()
            answer.read(_LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise RecorderError(f"no answer: {type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise RecorderError(f"it answered {answer.status}")
