"""How a stage fails: each error carries the exit code by which the operator tells what to do.

StageError
├── PlanError       64  the plan cannot be followed: changing the job is the remedy
├── DataError       65  the data cannot be used: changing the data is the remedy
├── GpuMemoryError  71  the GPU's memory does not hold the training: smaller batches are the remedy
├── PreemptedError  75  the pod was asked to end; its work is saved: running again is the remedy
├── DivergedError   76  the loss is no number any more: changing the training settings is the remedy
├── AccessError     77  something is not in reach for us: changing rights or addresses is the remedy
└── StalledError    78  no step was made for too long: another machine, or patience, is the remedy
"""

from .plan import ExitCode

__all__ = [
    "AccessError",
    "DataError",
    "DivergedError",
    "GpuMemoryError",
    "PlanError",
    "PreemptedError",
    "StageError",
    "StalledError",
]


class StageError(Exception):
    """A failure that the user can do something about; the message says what."""

    exit_code = ExitCode.INTERNAL


class PlanError(StageError):
    """The plan cannot be followed."""

    exit_code = ExitCode.BAD_PLAN


class DataError(StageError):
    """The data cannot be used."""

    exit_code = ExitCode.BAD_DATA


class GpuMemoryError(StageError):
    """The GPU ran out of memory."""

    exit_code = ExitCode.OUT_OF_MEMORY


class PreemptedError(StageError):
    """The stage was asked to end and saved its work first."""

    exit_code = ExitCode.PREEMPTED


class DivergedError(StageError):
    """The loss became NaN or infinite, or shot up."""

    exit_code = ExitCode.DIVERGED


class AccessError(StageError):
    """A server refused, or is not there."""

    exit_code = ExitCode.NO_ACCESS


class StalledError(StageError):
    """Training made no step for too long."""

    exit_code = ExitCode.STALLED
