"""What operator, router and scorer agree upon: which answers are scored, and by what.

What makes a score of an answer has a digest: what an experiment was decided by names it.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ANSWERS_PATH",
    "PHRASES_VERSION",
    "SCORE",
    "SCORER_FOLDER",
    "SCORER_PORT",
    "SCORES_PATH",
    "SCORING_FILE",
    "Answered",
    "ScoredMetric",
    "ScoringPlan",
]

SCORER_PORT = 8083
"""Of a namespace's scorer, where routers alone have business."""
ANSWERS_PATH, SCORES_PATH = "/answers", "/scores"
"""Where the scorer takes answers, and the recorder their scores."""
SCORE = "score."
"""How the names of scores begin among metrics: no name that clients can say does."""
SCORER_FOLDER, SCORING_FILE = "/etc/anneal/scorer", "scoring.json"
"""Where a scorer finds its ScoringPlan."""
PHRASES_VERSION = 1
"""Of the phrases by which a refusal is known (scorer/refusals.py): it rises with each change of them."""
_Source = Literal["SchemaValidity", "Refusals"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class ScoredMetric(_Part):
    """How one metric of an experiment is made of answers."""

    name: str
    source: _Source
    percent: int
    """Of the answers."""
    response_schema: str = ""
    """A JSON Schema as JSON, of `SchemaValidity`."""

    @property
    def digest(self) -> str:
        """What values depend on beside the answers."""
        by = self.response_schema or PHRASES_VERSION
        return hashlib.sha256(json.dumps([self.source, by]).encode()).hexdigest()[:16]


class ScoringPlan(_Part):
    """Everything that a namespace's scorer scores, by the experiments' uids."""

    recorder: str
    """Where the recorder is, as a URL."""
    experiments: dict[str, list[ScoredMetric]]


class Answered(_Part):
    """An answer as a router hands it on. Which variant gave it, nobody who scores it knows."""

    experiment: Annotated[str, Field(min_length=1, max_length=63)]
    exposure: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    kind: Literal["chat", "completions", "responses"]
    stream: bool = False
    answer: str = Field(repr=False)
    """Its body; what was asked is not handed on."""
