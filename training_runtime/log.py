"""The log: one JSON object per line, of the same shape in every stage and process, so that one parser reads them all.

Every line has `event`, `time` (RFC 3339, UTC) and `stage`; what else it has depends on the event. What libraries print,
warn of and log is told in the same shape, as the event `output`. Only what compiled code writes past Python, in a
process that nobody reads for, is left as it is.
"""

import io
import json
import math
import os
import sys
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from typing_extensions import override

from .plan import AnsweringStep, Stage

__all__ = ["begin_stage", "log_event", "pass_on", "take_over_output"]

_STAGE_VARIABLE = "ANNEAL_STAGE"
"""By which the processes that a stage starts know whose lines they write."""
_OURS = '{"event": '


def begin_stage(stage: Stage | AnsweringStep) -> None:
    """Say whose lines follow, in this process and in those that it starts."""
    os.environ[_STAGE_VARIABLE] = stage


def log_event(event: str, **facts: object) -> None:
    """Write a line; a number that is not finite, which JSON does not know, is told as null."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {name: None if isinstance(fact, float) and not math.isfinite(fact) else fact for name, fact in facts.items()}
    line = {"event": event, "time": now, "stage": os.environ.get(_STAGE_VARIABLE, ""), **told}
    _write(json.dumps(line, ensure_ascii=False, default=str))


def pass_on(lines: Iterable[str]) -> None:
    """Write what another process says, up to its end: our own lines as they are, others as events."""
    for line in lines:
        if line.startswith(_OURS):
            _write(line.rstrip("\n"))
        else:
            _tell(line)


def take_over_output() -> None:
    """From now on tell as events what is printed in this process, unless a person watches."""
    if sys.stdout.isatty() or isinstance(sys.stdout, _Output):
        return
    sys.stdout, sys.stderr = _Output(sys.stdout), _Output(sys.stderr)
    warnings.showwarning = _warn


class _Output(io.TextIOBase):
    """In the place of stdout or stderr: each whole line becomes an event."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._begun = ""

    @override
    def write(self, text: str) -> int:
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            _tell(line)
        return len(text)

    @property
    @override
    def encoding(self) -> str:  # type: ignore[override] # io's own cannot be written either
        """As of the stream in whose place it is."""
        return self.stream.encoding

    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return self.stream.fileno()

    @override
    def flush(self) -> None:
        """A line that is not whole yet is told when it is."""


def _tell(line: str) -> None:
    """A progress bar writes its states over each other: the last one counts."""
    if text := line.rstrip().rpartition("\r")[2].strip():
        log_event("output", text=text)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the signature of the one that it replaces
    line: str | None = None,  # noqa: ARG001 - as above
) -> None:
    log_event("output", text=f"{category.__name__}: {message} ({filename}:{lineno})")


def _write(line: str) -> None:
    """In one call: lines of several processes do not mix."""
    stream = sys.stdout.stream if isinstance(sys.stdout, _Output) else sys.stdout
    stream.write(line + "\n")
    stream.flush()
