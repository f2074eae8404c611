"""What every reconciler works with, and the one way a status is written."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from anneal_operator.api.conditions import Condition
from anneal_operator.api.schema import Schema
from anneal_operator.cluster.client import KubernetesApi
from anneal_operator.cluster.events import record_event
from anneal_operator.cluster.inputs import Inputs
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.watched_jobs import WatchedJobs
from anneal_operator.endpoints.progress import ProgressBook
from anneal_operator.errors import ApiError
from anneal_operator.outside.registry import Registry
from anneal_operator.outside.routers import Routers
from anneal_operator.settings import Settings

from .queue import Key

__all__ = ["Context", "timestamp", "write_status"]


log = logging.getLogger("anneal.events")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Context:
    """The world, the settings, and a way to have other objects looked at."""

    api: KubernetesApi
    watched: WatchedJobs
    inputs: Inputs
    registry: Registry
    routers: Routers
    progress: ProgressBook
    settings: Settings
    progress_ca: str
    wake: Callable[[Key], None]
    now: Callable[[], datetime] = field(default=_utc_now)


def timestamp(moment: datetime) -> str:
    """Return a moment as the API writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def write_status(context: Context, kind: str, current: Manifest, status: Schema) -> Manifest:
    """Write the status once, if it changed, and tell of each condition that did, or else of the phase.

    The object is returned as it is now.
    """
    new = status.dump()
    old = current.get("status") or {}
    if new == old:
        return current
    written = await context.api.write_status(kind, current, new)
    before = {condition["type"]: condition for condition in old.get("conditions", ())}
    conditions = [Condition.model_validate(raw) for raw in new.get("conditions", ())]
    changed = [condition for condition in conditions if _differs(condition, before.get(condition.type, {}))]
    for condition in changed:
        warning = condition.status == "False" and condition.type == "Succeeded"
        await _tell(context, current, condition.reason, condition.message, warning=warning)
    if conditions and not changed and new.get("phase") != old.get("phase"):
        await _tell(context, current, new["phase"], conditions[0].message, warning=False)
    return written


def _differs(condition: Condition, known: Manifest) -> bool:
    return (known.get("status"), known.get("reason")) != (condition.status, condition.reason)


async def _tell(context: Context, current: Manifest, reason: str, message: str, *, warning: bool) -> None:
    """An event that cannot be written is no reason to do the work again."""
    try:
        await record_event(context.api, current, reason, message, warning=warning)
    except ApiError as error:
        log.warning("an event was lost: %s", error)
