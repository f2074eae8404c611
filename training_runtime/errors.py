"""How a stage fails: each error carries the exit code by which the operator tells what to do.

StageError
├── PlanError       64  the plan cannot be followed: changing the job is the remedy
├── DataError       65  the data cannot be used: changing the data is the remedy
├── DivergedError   76  the loss is no number any more: changing the training settings is the remedy
└── AccessError     77  something is not in reach for us: changing rights or addresses is the remedy
"""

from .plan import ExitCode

__all__ = ["AccessError", "DataError", "DivergedError", "PlanError", "StageError"]


class StageError(Exception):
    """A failure that the user can do something about; the message says what."""

    exit_code = ExitCode.INTERNAL


class PlanError(StageError):
    """The plan cannot be followed."""

    exit_code = ExitCode.BAD_PLAN


class DataError(StageError):
    """The data cannot be used."""

    exit_code = ExitCode.BAD_DATA


class DivergedError(StageError):
    """The loss became NaN or infinite."""

    exit_code = ExitCode.DIVERGED


class AccessError(StageError):
    """A server refused, or is not there."""

    exit_code = ExitCode.NO_ACCESS
