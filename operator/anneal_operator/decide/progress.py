"""Progress as people read it in `kubectl get`."""

from anneal_operator.api.fine_tune_job_status import Progress

__all__ = ["progress_of"]

_DIGITS = 4


def progress_of(
    step: int,
    total: int | None,
    percent: int,
    eta_seconds: int | None,
    updated_at: str,
    numbers: dict[str, float | None],
) -> Progress:
    """Return a report with its summary; `numbers` are epoch, loss, eval_loss and learning_rate, as far as known."""
    steps = f"{step}/{total}" if total else str(step)
    return Progress(
        summary=f"{steps} {percent}%",
        remaining=_duration(eta_seconds),
        step=step,
        total_steps=total,
        percent=percent,
        eta_seconds=eta_seconds,
        updated_at=updated_at,
        epoch=_rounded(numbers.get("epoch")),
        loss=_rounded(numbers.get("loss")),
        eval_loss=_rounded(numbers.get("eval_loss")),
        learning_rate=_rounded(numbers.get("learning_rate")),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _duration(seconds: int | None) -> str | None:
    """Like kubectl's ages: the two largest units."""
    if not seconds:
        return None
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"
