"""Progress as people read it in `kubectl get`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from anneal_operator.api.fine_tune_job_status import Checkpoint, Progress
from anneal_operator.api.schema import timestamp

__all__ = ["Report", "progress_of", "read_report"]

_YEAR_10000 = 253402300800


@dataclass(frozen=True)
class Report:
    """What a training said last."""

    progress: Progress
    start_step: int | None = None
    """Where this attempt began."""
    checkpoint: Checkpoint | None = None
    """The newest that is committed."""


def read_report(percent: int, remaining_seconds: int | None, updated_at: str, numbers: Mapping[str, float]) -> Report:
    """Return what a training reported; `numbers` are its metrics, by Trainer's names."""
    total = numbers.get("total_steps")
    progress = progress_of(
        int(numbers.get("current_step", 0)),
        int(total) if total else None,
        percent,
        remaining_seconds,
        updated_at,
        {**numbers, "epoch": numbers.get("current_epoch")},
    )
    began, saved, at = (numbers.get(name) for name in ("resumed_from_step", "checkpoint_step", "checkpoint_time"))
    checkpoint = Checkpoint(step=int(saved), committed_at=_moment(at)) if saved is not None else None
    return Report(progress, None if began is None else int(began), checkpoint)


def _moment(seconds: float | None) -> str | None:
    if seconds is None or not 0 <= seconds < _YEAR_10000:
        return None
    return timestamp(datetime.fromtimestamp(seconds, UTC))


def progress_of(
    step: int,
    total: int | None,
    percent: int,
    eta_seconds: int | None,
    updated_at: str | None,
    numbers: dict[str, float | None],
) -> Progress:
    """Return a report with its summary; `numbers` are the training's own, as far as known."""
    steps = f"{step}/{total}" if total else str(step)
    return Progress(
        summary=f"{steps} {percent}%",
        remaining=_duration(eta_seconds),
        step=step,
        total_steps=total,
        percent=percent,
        eta_seconds=eta_seconds,
        updated_at=updated_at,
        epoch=numbers.get("epoch"),
        loss=numbers.get("loss"),
        eval_loss=numbers.get("eval_loss"),
        learning_rate=numbers.get("learning_rate"),
        tokens_per_second=numbers.get("tokens_per_second"),
        gpu_memory_gib=numbers.get("gpu_memory_gib"),
    )


def _duration(seconds: int | None) -> str | None:
    """Like kubectl's ages: the two largest units."""
    if not seconds:
        return None
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"
