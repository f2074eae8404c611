"""What GPUs cost: for how long which pods held them, at the price of their time.

What was reckoned is kept in a status, with how many GPUs were held from then on. So between two changes nothing has to
be written, and an operator that begins anew goes on as if there had been no other: what is held is counted until it
looks. Pods that began meanwhile count from when they were placed, as Kubernetes tells; what ended meanwhile, until it
looks, as nobody tells of that any more. What is held by other pods than before went from one to the other: what counts
is for how long so many GPUs were held, which clocks that differ a little change nothing of.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil

from anneal_operator.api.ab_experiment_status import VariantCost
from anneal_operator.api.model_version import Answered, Cost
from anneal_operator.api.pods import is_gpu
from anneal_operator.api.quantities import amount
from anneal_operator.api.resources import Manifest
from anneal_operator.api.schema import timestamp

__all__ = [
    "GpuPrice",
    "Held",
    "amount_of",
    "begun_at",
    "counted_since",
    "due_in",
    "held_by",
    "price_of",
    "settled",
    "until_now",
]

GpuPrice = float | Mapping[str, float] | None
"""Of a GPU's hour: one for all whole GPUs, or by the resource's name; None where there is none."""
_HOUR_SECONDS = 3600.0
_SOONEST, _LATEST, _PART = timedelta(minutes=1), timedelta(hours=1), 0.1
_MONEY_DIGITS = 6
_ENDED = frozenset({"Succeeded", "Failed"})
_WHOLE_GPU = "/gpu"


@dataclass(frozen=True)
class Held:
    """The GPUs of one pod, or a version's share of them."""

    gpus: float
    per_hour: float | None
    since: datetime
    """When the pod was placed."""


def price_of(resource: str, prices: GpuPrice) -> float | None:
    """Return what an hour of one GPU, or slice, costs; one price for all is none of a slice's."""
    if prices is None or isinstance(prices, Mapping):
        return prices.get(resource) if prices else None
    return float(prices) if resource.endswith(_WHOLE_GPU) else None


def amount_of(per_hour: float | None, seconds: float) -> float | None:
    """Return what so long costs; None without a price."""
    return None if per_hour is None else per_hour * seconds / _HOUR_SECONDS


def held_by(pods: Iterable[Manifest], prices: GpuPrice, sharers: int = 1) -> list[Held]:
    """Return what pods hold: from when they are placed on a node until they ended or are gone, ready or not.

    Of pods that several versions share each has as much as any other.
    """
    return [held for pod in pods if (held := _held(pod, prices, sharers))]


def begun_at(held: Iterable[Held], moment: datetime) -> list[Held]:
    """Return the same of a version that pods which were there before are its own, or in part, from then on only."""
    return [replace(one, since=max(one.since, moment)) for one in held]


def _held(pod: Manifest, prices: GpuPrice, sharers: int) -> Held | None:
    status, asked = pod.get("status") or {}, _gpus(pod)
    told = {one["type"]: one for one in status.get("conditions") or ()}
    placed = told.get("PodScheduled", {})
    since = placed.get("lastTransitionTime") or status.get("startTime")  # Kubernetes demands neither
    if not asked or status.get("phase") in _ENDED or placed.get("status") != "True" or not since:
        return None
    per_hour = _sum(price * count for name, count in asked.items() if (price := price_of(name, prices)) is not None)
    return Held(
        sum(asked.values()) / sharers, None if per_hour is None else per_hour / sharers, datetime.fromisoformat(since)
    )


def _gpus(pod: Manifest) -> dict[str, int]:
    found: dict[str, int] = {}
    for container in (pod.get("spec") or {}).get("containers") or ():
        for name, quantity in ((container.get("resources") or {}).get("limits") or {}).items():
            if is_gpu(name):
                found[name] = found.get(name, 0) + ceil(amount(quantity))
    return found


def due_in(known: Cost | None, held: Sequence[Held], now: datetime) -> float | None:
    """Return the seconds after which it has to be reckoned anew, 0 where that is now; None where nothing is held."""
    if known is None:
        return 0.0 if held else None
    if (known.gpus, known.per_hour) != _rate(held):
        return 0.0
    if not known.gpus:
        return None
    counted = timedelta(seconds=_PART * known.gpu_seconds / known.gpus)
    due = datetime.fromisoformat(known.counted_at) + min(_LATEST, max(_SOONEST, counted))
    return max(0.0, (due - now).total_seconds())


def settled(known: Cost | None, held: Sequence[Held], recorded: Answered | None, now: datetime) -> Cost | None:
    """Return the cost until now where that is due, and else what is known.

    `recorded` is what the recorder has of the version; None where it was not asked, or did not answer.
    """
    if due_in(known, held, now) != 0.0:
        return known
    at = now.replace(microsecond=0)
    seconds, spent = until_now(known, at) if known else (0.0, None)
    for one, part in _begun(known, held):
        new = max(0.0, (at - one.since).total_seconds()) * part
        seconds, spent = seconds + one.gpus * new, _sum([spent, amount_of(one.per_hour, new)])
    gpus, per_hour = _rate(held)
    cost = (known or Cost(gpus=0, gpu_seconds=0, counted_at="")).having(
        gpus=gpus,
        per_hour=per_hour,
        gpu_seconds=round(seconds, 3),
        amount=None if spent is None else round(spent, _MONEY_DIGITS),
        counted_at=timestamp(at),
    )
    return _over(cost, known, recorded) if recorded else cost


def _begun(known: Cost | None, held: Sequence[Held]) -> Iterator[tuple[Held, float]]:
    """Yield what began since the last time beyond what was held then, the newest, and which part of it that is."""
    left = known.gpus if known else 0.0
    for one in sorted(held, key=lambda one: one.since):
        more, left = max(0.0, one.gpus - left), max(0.0, left - one.gpus)
        if more and (known is None or one.since > datetime.fromisoformat(known.counted_at)):
            yield one, more / one.gpus


def _over(cost: Cost, known: Cost | None, recorded: Answered) -> Cost:
    """What the recorder has is new from where it stood; where it has less than once, it began anew.

    Nothing is new where it was never heard before, nor of a time that cost nothing as GPUs had no price: what is told
    by request is over the same time as the requests.
    """
    before, answered = cost.answered_before, cost.answered
    had_no_price = known is not None and known.gpus > 0 and known.per_hour is None
    if before is None or had_no_price:
        before = Answered(requests=recorded.requests - answered.requests, tokens=recorded.tokens - answered.tokens)
    elif recorded.requests < before.requests + answered.requests:
        before = Answered(requests=-answered.requests, tokens=-answered.tokens)
    answered = Answered(requests=recorded.requests - before.requests, tokens=recorded.tokens - before.tokens)
    return cost.having(
        answered=answered,
        answered_before=before,
        per_thousand_requests=_per(1e3, cost.amount, answered.requests),
        per_million_tokens=_per(1e6, cost.amount, answered.tokens),
    )


def _per(unit: float, spent: float | None, count: int) -> float | None:
    return float(f"{unit * spent / count:.4g}") if spent is not None and count > 0 else None


def counted_since(known: VariantCost | None, cost: Cost | None) -> VariantCost | None:
    """Return what a version cost since it was first asked so, of which `known` came the last time.

    A version whose own numbers began anew begins anew here.
    """
    if cost is None or cost.amount is None:
        return known
    if known is None or cost.amount < known.amount_before or cost.answered.requests < known.answered_before.requests:
        nothing = Answered()
        return VariantCost(amount=0, answered=nothing, amount_before=cost.amount, answered_before=cost.answered)
    before, answered = known.answered_before, cost.answered
    new = Answered(requests=answered.requests - before.requests, tokens=answered.tokens - before.tokens)
    spent = round(cost.amount - known.amount_before, _MONEY_DIGITS)
    return known.having(
        amount=spent,
        answered=new,
        per_thousand_requests=_per(1e3, spent, new.requests),
        per_million_tokens=_per(1e6, spent, new.tokens),
    )


def until_now(known: Cost, now: datetime) -> tuple[float, float | None]:
    """Return a version's GPU seconds until now, and what they cost, where it holds what it did."""
    elapsed = max(0.0, (now - datetime.fromisoformat(known.counted_at)).total_seconds())
    return known.gpu_seconds + known.gpus * elapsed, _sum([known.amount, amount_of(known.per_hour, elapsed)])


def _rate(held: Sequence[Held]) -> tuple[float, float | None]:
    """How many GPUs are held, and what an hour of these costs."""
    per_hour = _sum(one.per_hour for one in held)
    return round(sum(one.gpus for one in held), 6), None if per_hour is None else round(per_hour, 6)


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum of those that there are; None where there are none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
