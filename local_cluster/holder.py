"""Who started the cluster: a checkout never touches a running cluster that another one holds."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from .errors import HeldError
from .layout import Layout
from .processes import find
from .supervisor import SUPERVISOR

__all__ = ["CHECKOUT", "Holder", "claim", "holder_of"]

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Holder:
    """The checkout that started the cluster, and when (ISO 8601, UTC)."""

    checkout: str
    since: str


def holder_of(layout: Layout) -> Holder | None:
    """Return who holds the cluster, or None: a record with neither API server nor supervisor holds nothing."""
    try:
        holder = Holder(**json.loads(_record(layout).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return holder if find(layout, "kube-apiserver") or find(layout, SUPERVISOR) else None


def claim(layout: Layout, *, take_over: bool) -> None:
    """Write this checkout down as the holder.

    Raises HeldError when another existing checkout holds a running cluster and `take_over` is off.
    """
    holder = holder_of(layout)
    ours = str(CHECKOUT)
    if holder and holder.checkout != ours and Path(holder.checkout).exists() and not take_over:
        raise HeldError(
            f"the cluster of this machine is held by the checkout {holder.checkout} since {holder.since}: "
            f"use it (KUBECONFIG={layout.kubeconfig}), end it there with `make cluster-down`, or pass --take-over"
        )
    if holder is None or holder.checkout != ours:
        layout.state.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _record(layout).write_text(json.dumps(asdict(Holder(ours, now))))


def _record(layout: Layout) -> Path:
    return layout.state / "holder.json"
