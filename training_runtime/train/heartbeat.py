"""Signs of life of a training, and the probe that Kubernetes ends it by when they stop.

A hung collective, a dead disk or a stopped process cannot end itself, so somebody else must look: the kubelet runs this
module as the container's liveness probe. It says why in the termination message, which outlives the container. Times
are the machine's monotonic clock, which all its processes share.
"""

import contextlib
import json
import os
import statistics
import sys
import time
from collections import deque
from pathlib import Path

from training_runtime import HEARTBEAT_VARIABLE, STALLED

__all__ = ["Heartbeat", "main"]

_TERMINATION_LOG = Path("/dev/termination-log")
_RECENT_STEPS = 50
_STALL_FACTOR = 10.0
"""A step that takes so many times as long as the median of the recent ones has stalled."""
_END_FACTOR = 10.0
"""A part of the end, which writes a whole model, may take so many times what may always pass."""


class Heartbeat:
    """Written by one process of each pod; `min_seconds` may always pass between two of them."""

    def __init__(self, min_seconds: float) -> None:
        name = os.environ.get(HEARTBEAT_VARIABLE, "")
        beats = name and os.environ.get("LOCAL_RANK", "0") == "0"
        self._file = Path(name) if beats else None
        self._min_seconds = min_seconds
        self._steps: deque[float] = deque(maxlen=_RECENT_STEPS)
        self._last_step: float | None = None
        self._due = float("inf")
        self.was_late = False
        """Whether a sign of life ever came too late, so that the probe may have asked for the end."""

    def step(self) -> None:
        """A step was made."""
        now = time.monotonic()
        if self._last_step is not None:
            self._steps.append(now - self._last_step)
        self._last_step = now
        self.beat()

    def beat(self) -> None:
        """Something that takes long, a checkpoint or a validation, has gone on."""
        now = time.monotonic()
        self.was_late = self.was_late or now > self._due
        allowed = (
            max(self._min_seconds, _STALL_FACTOR * statistics.median(self._steps)) if self._steps else self._min_seconds
        )
        self._wait(now, allowed)

    def begin_end(self) -> None:
        """A part of the end begins: no step, and nothing that beats while it goes on."""
        self._wait(time.monotonic(), _END_FACTOR * self._min_seconds)

    def stop(self) -> None:
        """What comes now is another process's work, which shows signs of life of its own."""
        if self._file:
            self._file.unlink(missing_ok=True)

    def _wait(self, now: float, allowed: float) -> None:
        self._due = now + allowed
        if self._file:
            written = self._file.with_suffix(".new")
            written.write_text(f"{self._due} {allowed:.0f}")
            written.replace(self._file)  # the process may stand still between any two instructions


def main() -> int:
    """Return 1 where a sign of life is overdue; before the first step, none is."""
    try:
        due, allowed = Path(sys.argv[1]).read_text().split()
        late = time.monotonic() > float(due)
    except (OSError, ValueError):
        return 0
    if late:
        message = (
            f"no step, validation, checkpoint or part of the finished model was made for {allowed} s: look at the "
            "nodes and the volume; raise training.guards.stalledAfter where one of them takes longer"
        )
        with contextlib.suppress(OSError):
            _TERMINATION_LOG.write_text(json.dumps({"error": STALLED, "message": message}))
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
