"""How many pods a version has for the requests that are under way: more at once, fewer once that has held for a while.

By Little's law the requests in flight are how many arrive times how long each takes, those that wait included, so they
tell of too few pods before users do. As the Kubernetes HorizontalPodAutoscaler does, it counts pods that are asked for,
not those that are ready, so that a slow start is not answered by ever more of them; and it goes down to the most that
any moment of the last while asked for.

What it does not do: fewer than one pod. When there are none, `wanted_pods.py` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from anneal_operator.api.quantities import seconds
from anneal_operator.api.serving import Autoscaling, Serving

__all__ = [
    "ASKED_EVERY_SECONDS",
    "LONGEST_GAP",
    "LONGEST_KEPT",
    "Sample",
    "fewest",
    "replicas_for",
    "replicas_to_take_over",
]

ASKED_EVERY_SECONDS = 5.0
LONGEST_GAP = timedelta(seconds=3 * ASKED_EVERY_SECONDS)
_MOST_MORE = 4
"""Pods that come at once where that is more than twice as many, as with the HorizontalPodAutoscaler."""
LONGEST_KEPT = timedelta(hours=1) + LONGEST_GAP
"""The longest `scaleDownDelay`, and a sample that is older."""


@dataclass(frozen=True)
class Sample:
    """The requests of one version that a namespace's routers had under way."""

    at: datetime
    requests: int
    is_whole: bool = True
    """Whether every router told, and the version had pods that answer: more may be needed otherwise, never fewer."""


def replicas_for(
    serving: Serving, current: int | None, samples: Sequence[Sample], now: datetime, *, at_least: int = 0
) -> int:
    """Return how many pods a version that is wanted should have, given how many it has (None: no engine yet).

    `samples` are in the order of their time. What KEDA scales has as many as it has, and no fewer than it is to. As
    with a HorizontalPodAutoscaler, 0 `replicas` switch it off.
    """
    wanted = serving.autoscaling
    if wanted is None or serving.replicas == 0:
        return serving.replicas
    if wanted.triggers:
        return max(current or 0, _within(wanted, at_least))
    if not current:
        return _within(wanted, max(serving.replicas, at_least))
    newest = min(_pods(wanted, samples[-1]) if samples else 0, max(2 * current, current + _MOST_MORE))
    return _within(wanted, max(at_least, newest, min(current, _most_lately(wanted, current, samples, now))))


def replicas_to_take_over(serving: Serving, before: int, samples: Sequence[Sample], now: datetime) -> int:
    """Return how many pods a version needs for clients whose version has `before`: by their requests, which `samples`
    are with its own; as many as that one, where these are not known.
    """
    wanted = serving.autoscaling
    if wanted is None or serving.replicas == 0:
        return serving.replicas
    newest = _pods(wanted, samples[-1]) if samples else 0
    return _within(wanted, max(newest, _most_lately(wanted, before, samples, now)))


def fewest(serving: Serving, at_least: int) -> int:
    """Return the fewest pods that KEDA may leave a version that is to have any."""
    return _within(serving.autoscaling, at_least) if serving.autoscaling else serving.replicas


def _most_lately(wanted: Autoscaling, current: int, samples: Sequence[Sample], now: datetime) -> int:
    """The most pods that any moment of the last while asked for; as many as there are where that is not known."""
    since = now - timedelta(seconds=seconds(wanted.scale_down_delay))
    at_first = [sample for sample in samples if sample.at <= since][-1:]
    lately = [*at_first, *(sample for sample in samples if sample.at > since)]
    moments = [*(sample.at for sample in lately), now]
    is_known = bool(at_first) and all(later - at <= LONGEST_GAP for at, later in pairwise(moments))
    if not is_known or not all(sample.is_whole for sample in lately):
        return current
    return max(_pods(wanted, sample) for sample in lately)


def _pods(wanted: Autoscaling, sample: Sample) -> int:
    return -(-sample.requests // wanted.target_requests)


def _within(wanted: Autoscaling, pods: int) -> int:
    return max(1, wanted.min_replicas, min(wanted.max_replicas, pods))
