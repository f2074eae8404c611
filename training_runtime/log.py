"""The log: one JSON object per line, of the same shape in every stage and process, so that one parser reads them all.

Every line has `event`, `time` (RFC 3339, UTC) and `stage`; what else it has depends on the event.
"""

import json
import math
import os
import sys
from datetime import UTC, datetime

from .plan import AnsweringStep, Stage

__all__ = ["begin_stage", "log_event"]

_STAGE_VARIABLE = "ANNEAL_STAGE"
"""By which the processes that a stage starts know whose lines they write."""


def begin_stage(stage: Stage | AnsweringStep) -> None:
    """Say whose lines follow, in this process and in those that it starts."""
    os.environ[_STAGE_VARIABLE] = stage


def log_event(event: str, **facts: object) -> None:
    """Write a line; a number that is not finite, which JSON does not know, is told as null."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {name: None if isinstance(fact, float) and not math.isfinite(fact) else fact for name, fact in facts.items()}
    line = {"event": event, "time": now, "stage": os.environ.get(_STAGE_VARIABLE, ""), **told}
    # In one call: lines of several processes do not mix.
    sys.stdout.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
