"""How far the weights of an engine are on their way, by what Kubernetes says of the container that brings them, and by
what that says itself.
"""

from collections.abc import Iterable

from anneal_operator.api.model_version import Download
from anneal_operator.api.quantities import worded
from anneal_operator.api.resources import Manifest
from serving_runtime.plan import WEIGHTS_CONTAINER, Downloaded

from .startup import reading_seconds

__all__ = ["LOOK_AGAIN_SECONDS", "brings_since", "in_words", "slowest_download", "weights_container"]

LOOK_AGAIN_SECONDS = 10.0
"""While weights are downloaded, which no watch tells of."""
_WORTH_SECONDS = 600


def weights_container(pod: Manifest) -> Manifest:
    """Return its status; empty where there is none. It goes before an engine, as others may, or has its own pod."""
    status = pod.get("status", {})
    found: list[Manifest] = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return next((one for one in found if one.get("name") == WEIGHTS_CONTAINER), {})


def brings_since(pod: Manifest) -> str:
    """Return when it began, while it runs; else nothing."""
    running = weights_container(pod).get("state", {}).get("running") or {}
    return str(running.get("startedAt", ""))


def slowest_download(told: Iterable[Downloaded]) -> Download | None:
    """Return the one that has most before it; pods that wait for another's, or verify what they found, have none."""
    known = [one for one in told if one.total_bytes > 0]
    if not known:
        return None
    last = max(known, key=lambda one: one.total_bytes - one.bytes)
    return Download(
        bytes=last.bytes,
        total_bytes=last.total_bytes,
        bytes_per_second=last.bytes_per_second,
        remaining=_remaining(last),
    )


def _remaining(told: Downloaded) -> str | None:
    """In whole minutes where that says enough."""
    if told.bytes_per_second <= 0:
        return None
    left = reading_seconds(max(0, told.total_bytes - told.bytes), told.bytes_per_second)
    return worded(left if left < _WORTH_SECONDS else -(-left // 60) * 60)


def in_words(download: Download) -> str:
    """Say it in a sentence."""
    here, total, speed = (count / 1e9 for count in (download.bytes, download.total_bytes, download.bytes_per_second))
    rest = f"about {download.remaining} left" if download.remaining else "nothing comes"
    return f"{here:.1f} of {total:.1f} GB are here, at {1000 * speed:.1f} MB/s, {rest}"
