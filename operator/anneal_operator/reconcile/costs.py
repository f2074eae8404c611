"""What versions cost, for Prometheus: what their statuses say, and what they have held since.

So the counters go on where they were when another operator leads, and one that only waits to tells of none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from anneal_operator.api.model_version import Cost
from anneal_operator.decide.cost import until_now

__all__ = ["CostCollector", "Costs"]

_LABELS = ("namespace", "model", "version")
_SECONDS = "GPU seconds that versions held, of pods that several share each its part."
_COST = "What these cost, in the currency of the chart's pricePerGpuHour."


@dataclass
class Costs:
    """By namespace and version: its model, and its cost as last told."""

    told: dict[tuple[str, str], tuple[str, Cost]] = field(default_factory=dict)
    _most: dict[tuple[str, str], tuple[float, float | None]] = field(default_factory=dict)
    """What Prometheus was told: it takes whatever is less for a counter that began anew, and adds all of it again."""

    def note(self, namespace: str, model: str, version: str, cost: Cost | None) -> None:
        """Remember what a version's status says."""
        if cost is None:
            self.forget(namespace, version)
        else:
            self.told[namespace, version] = (model, cost)

    def forget(self, namespace: str, version: str) -> None:
        """Keep nothing of a version."""
        self.told.pop((namespace, version), None)
        self._most.pop((namespace, version), None)

    def until(self, now: datetime) -> Iterator[tuple[tuple[str, str, str], float, float | None]]:
        """Yield namespace, model and version, GPU seconds and what they cost: never less than before.

        Clocks are set back, and statuses are rounded.
        """
        for key, (model, cost) in sorted(self.told.items(), key=lambda told: told[0]):
            seconds, amount = until_now(cost, now)
            most_seconds, most = self._most.get(key, (0.0, None))
            seconds, amount = (
                max(seconds, most_seconds),
                max((x for x in (amount, most) if x is not None), default=None),
            )
            self._most[key] = seconds, amount
            yield (key[0], model, key[1]), seconds, amount

    def clear(self) -> None:
        """Forget everything: another operator leads."""
        self.told.clear()
        self._most.clear()


class CostCollector(Collector):
    """Tells of all of them as of the moment when it is asked."""

    def __init__(self, costs: Costs, now: Callable[[], datetime]) -> None:
        self._costs = costs
        self._now = now

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the counters."""
        seconds = CounterMetricFamily("anneal_version_gpu_seconds", _SECONDS, labels=_LABELS)
        spent = CounterMetricFamily("anneal_version_cost", _COST, labels=_LABELS)
        for labels, held, amount in self._costs.until(self._now()):
            seconds.add_metric(labels, held)
            if amount is not None:
                spent.add_metric(labels, amount)
        yield seconds
        yield spent
