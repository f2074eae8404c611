"""What a version's cost is reckoned from: the GPUs of its pods, and what the recorder has of it."""

import contextlib
from collections.abc import Sequence
from datetime import datetime

from anneal_operator.api.model_version import Answered, ModelVersionSpec, ModelVersionStatus
from anneal_operator.cluster.kinds import Manifest
from anneal_operator.cluster.reading import Reader
from anneal_operator.decide.cost import Held, begun_at, due_in, held_by
from anneal_operator.desired.recorder import recorder_url
from anneal_operator.errors import RouterError

from .context import Context
from .keys import admin_key
from .kind import Item

__all__ = ["gpus_held", "recorded_where_due"]

VersionItem = Item[ModelVersionSpec, ModelVersionStatus]


def gpus_held(context: Context, item: VersionItem, pods: Sequence[Manifest], sharers: int = 1) -> list[Held]:
    """Return the GPUs that it holds, since it was created; of those that others had before it, from now on, and none
    before it is wanted.

    Pods of another object of its name may still be there. Of one that answered before costs were told nobody knows what
    it held, and answered, until then.
    """
    cost, created = item.status.cost, datetime.fromisoformat(item.manifest["metadata"]["creationTimestamp"])
    begins = context.now() if cost is None and item.status.cold_start else created
    held = begun_at(held_by(pods, context.settings.price_per_gpu_hour, sharers), begins)
    if not item.spec.shares_base or (cost and cost.gpus):
        return held
    return begun_at(held, context.now()) if item.status.replicas else []


async def recorded_where_due(
    context: Context, reader: Reader, item: VersionItem, held: Sequence[Held]
) -> Answered | None:
    """Return what the recorder has, where the cost is due to be told, or may be for the last time."""
    cost = item.status.cost
    is_ending = cost is not None and cost.gpus > 0 and item.status.phase == "Draining"
    if due_in(cost, held, context.now()) != 0.0 and not is_ending:
        return None
    key = await admin_key(reader, item.namespace)
    with contextlib.suppress(RouterError):
        return await context.routers.answered(recorder_url(item.namespace), key, item.name)
    return None
