"""What GPUs cost: exact from the pods' own times, whenever it is looked at, and written seldom."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.ab_experiment_status import VariantCost
from anneal_operator.api.model_version import Answered, Cost
from anneal_operator.decide.cost import GpuPrice, Held, counted_since, due_in, held_by, price_of, settled, until_now

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AT = "2026-03-01T12:00:00Z"
MAP = {"nvidia.com/gpu": 2.5, "nvidia.com/mig-1g.10gb": 0.4}


def _at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def _pod(since: str | None = AT, phase: str = "Running", **limits: Any) -> dict[str, Any]:
    asked = {name.replace("__", "/").replace("_com", ".com"): quantity for name, quantity in limits.items()}
    placed = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": since}] if since else []
    waits = [{"type": "PodScheduled", "status": "False", "lastTransitionTime": AT}]
    return {
        "spec": {"containers": [{"resources": {"limits": asked}}]},
        "status": {"phase": phase, "conditions": placed or waits},
    }


def _held(gpus: float = 2, per_hour: float | None = 7.2, since: datetime = NOW) -> Held:
    return Held(gpus, per_hour, since)


def _cost(**told: Any) -> Cost:
    known: dict[str, Any] = {"gpus": 2, "per_hour": 7.2, "gpu_seconds": 0, "amount": 0, "counted_at": AT}
    known |= {"answered_before": Answered()}
    return Cost(**known | told)


@pytest.mark.parametrize(
    ("resource", "prices", "price"),
    [
        ("nvidia.com/gpu", 2.5, 2.5),
        ("amd.com/gpu", 2.5, 2.5),
        ("nvidia.com/mig-1g.10gb", 2.5, None),
        ("nvidia.com/mig-1g.10gb", MAP, 0.4),
        ("nvidia.com/gpu", MAP, 2.5),
        ("amd.com/gpu", MAP, None),
        ("nvidia.com/gpu", None, None),
    ],
)
def test_which_price_a_gpu_has(resource: str, prices: GpuPrice, price: float | None) -> None:
    assert price_of(resource, prices) == price


@pytest.mark.parametrize(
    ("pod", "prices", "sharers", "held"),
    [
        (_pod(nvidia_com__gpu=2), 2.5, 1, [(2, 5.0)]),
        (_pod(nvidia_com__gpu="2"), MAP, 1, [(2, 5.0)]),
        (_pod(nvidia_com__gpu=2), 2.5, 4, [(0.5, 1.25)]),
        (_pod(nvidia_com__gpu=2), None, 1, [(2, None)]),
        (_pod(phase="Pending", nvidia_com__gpu=1), 2.5, 1, [(1, 2.5)]),
        (_pod(None, "Pending", nvidia_com__gpu=1), 2.5, 1, []),
        (_pod(phase="Failed", nvidia_com__gpu=1), 2.5, 1, []),
        (_pod(phase="Succeeded", nvidia_com__gpu=1), 2.5, 1, []),
        (_pod(cpu=4, memory="8Gi"), 2.5, 1, []),
        ({"spec": {}, "status": {}}, 2.5, 1, []),
    ],
)
def test_what_a_pod_holds_while_it_is_placed(
    pod: dict[str, Any], prices: GpuPrice, sharers: int, held: list[tuple[float, float | None]]
) -> None:
    assert held_by([pod], prices, sharers) == [Held(gpus, per_hour, NOW) for gpus, per_hour in held]


def test_a_pod_that_is_to_end_holds_its_gpus_until_it_is_gone() -> None:
    pod = _pod(nvidia_com__gpu=1)
    assert held_by([{**pod, "metadata": {"deletionTimestamp": AT}}], 2.5) == [Held(1, 2.5, NOW)]


@pytest.mark.parametrize(
    ("known", "held", "after", "gpu_seconds", "amount"),
    [
        # a first pod, seen late: from when it was placed
        (None, [_held()], 30, 60, 0.06),
        (None, [_held(per_hour=None)], 30, 60, None),
        # nothing has changed
        (_cost(), [_held()], 60, 120, 0.12),
        # two pods hold as much as one of twice the size
        (_cost(), [_held(1, 3.6), _held(1, 3.6)], 60, 120, 0.12),
        # one more began while nobody looked: from when it was placed
        (_cost(), [_held(), _held(since=_at(40))], 60, 120 + 40, 0.16),
        # one went: it is counted until now
        (_cost(), [], 60, 120, 0.12),
        # one was replaced while nobody looked: the other went on where it ended
        (_cost(), [_held(since=_at(50))], 60, 120, 0.12),
        (_cost(), [_held(1, 3.6), _held(1, 3.6, _at(20)), _held(1, 3.6, _at(50))], 60, 120 + 10, 0.13),
        (_cost(), [_held(4, 14.4, _at(50))], 60, 120 + 20, 0.14),
        # it was seen when it was placed, by a clock that is a little behind Kubernetes's
        (_cost(), [_held(since=_at(1))], 60, 120, 0.12),
        (_cost(), [_held(since=_at(90))], 60, 120, 0.12),
        # nothing was held between
        (_cost(gpus=0, per_hour=None), [_held(since=_at(3000))], 3600, 1200, 1.2),
        # the price changes: what was, at the old one
        (_cost(), [_held(per_hour=14.4)], 60, 120, 0.12),
        (_cost(), [_held(per_hour=None)], 60, 120, 0.12),
        (_cost(per_hour=None, amount=None), [_held()], 60, 120, None),
        # the clock went back
        (_cost(gpu_seconds=5), [_held(1)], -60, 5, 0),
    ],
)
def test_what_was_held_is_reckoned_by_the_pods_own_times(
    known: Cost | None, held: Sequence[Held], after: float, gpu_seconds: float, amount: float | None
) -> None:
    cost = settled(known, held, None, _at(after))
    assert cost is not None
    assert (cost.gpu_seconds, cost.amount) == (gpu_seconds, amount)
    assert cost.counted_at == _at(after).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert cost.gpus == sum(one.gpus for one in held)
    assert due_in(cost, held, _at(after)) != 0.0, "nothing more is to be written"


def test_the_same_comes_of_it_whenever_it_is_looked_at() -> None:
    """Looks at any moments, with fractions of seconds, and an operator that begins anew at each of them."""
    first, second = _held(1, 2.5), _held(1, 2.5, _at(5000))
    seldom = settled(settled(None, [first], None, NOW), [first, second], None, _at(7200.4))
    cost = None
    for seconds in range(0, 7201, 7):
        held = [first, second] if seconds >= 5000 else [first]
        cost = settled(cost and Cost.model_validate(cost.model_dump()), held, None, _at(seconds + 0.4))
    cost = settled(cost, [], None, _at(7200.4))
    assert cost is not None
    assert seldom is not None
    assert (cost.gpu_seconds, seldom.gpu_seconds) == (7200 + 2200, 7200 + 2200)
    assert seldom.amount == pytest.approx(2.5 * 9400 / 3600, abs=1e-4)
    assert cost.amount == pytest.approx(2.5 * 9400 / 3600, abs=1e-4)


def test_small_prices_are_not_rounded_away() -> None:
    """A slice of a GPU that fifty versions share, looked at each hour."""
    cost = settled(None, [_held(0.02, 0.4 / 50)], None, NOW)
    for hour in range(1, 31):
        cost = settled(cost, [_held(0.02, 0.4 / 50 + hour % 2 / 1e4)], None, _at(hour * 3600 + hour % 7))
    assert cost is not None
    assert cost.amount == pytest.approx(30 * (0.4 / 50 + 0.5 / 1e4), rel=1e-3)


def test_a_pod_that_does_not_say_when_it_was_placed_counts_from_when_it_began() -> None:
    pod = _pod(nvidia_com__gpu=1)
    pod["status"]["conditions"][0]["lastTransitionTime"] = None
    assert held_by([pod], 2.5) == []
    pod["status"]["startTime"] = AT
    assert held_by([pod], 2.5) == [Held(1, 2.5, NOW)]


@pytest.mark.parametrize(
    ("known", "held", "after", "due"),
    [
        (None, [], 0, None),
        (None, [_held()], 0, 0),
        (_cost(), [_held()], 10, 50),
        (_cost(), [_held()], 60, 0),
        (_cost(), [_held()], 600, 0),
        (_cost(gpu_seconds=2 * 6000), [_held()], 100, 500),
        (_cost(gpu_seconds=2 * 86400 * 30), [_held()], 100, 3500),
        (_cost(), [_held(1)], 0, 0),
        (_cost(), [_held(per_hour=9.0)], 0, 0),
        (_cost(), [], 0, 0),
        (_cost(gpus=0, per_hour=None), [], 86400, None),
    ],
)
def test_it_is_written_when_something_changes_and_seldom_else(
    known: Cost | None, held: Sequence[Held], after: float, due: float | None
) -> None:
    assert due_in(known, held, _at(after)) == due
    if due != 0:
        assert settled(known, held, Answered(requests=9, tokens=9), _at(after)) is known


@pytest.mark.parametrize(
    ("known", "recorded", "answered", "per_thousand", "per_million"),
    [
        (_cost(), Answered(requests=240, tokens=60000), (240, 60000), 0.5, 2.0),
        (_cost(), None, (0, 0), None, None),
        (_cost(), Answered(), (0, 0), None, None),
        # what was answered while there was no price cost nothing
        (_cost(amount=None, per_hour=None), Answered(requests=240, tokens=60000), (0, 0), None, None),
        (
            _cost(per_hour=None, amount=0.12, answered=Answered(requests=200, tokens=60000)),
            Answered(requests=7000, tokens=900000),
            (200, 60000),
            0.6,
            2.0,
        ),
        # the recorder is heard for the first time, and may have another object's
        (_cost(answered_before=None), Answered(requests=240, tokens=60000), (0, 0), None, None),
        # another object of the name had some
        (
            _cost(answered_before=Answered(requests=60, tokens=0)),
            Answered(requests=300, tokens=60000),
            (240, 60000),
            0.5,
            2.0,
        ),
        # the recorder is silent: as it was
        (
            _cost(answered=Answered(requests=5, tokens=6), per_thousand_requests=7.0, per_million_tokens=8.0),
            None,
            (5, 6),
            7.0,
            8.0,
        ),
        # the recorder's volume was lost
        (
            _cost(answered=Answered(requests=200, tokens=50000)),
            Answered(requests=40, tokens=10000),
            (240, 60000),
            0.5,
            2.0,
        ),
    ],
)
def test_what_requests_and_tokens_cost(
    known: Cost,
    recorded: Answered | None,
    answered: tuple[int, int],
    per_thousand: float | None,
    per_million: float | None,
) -> None:
    cost = settled(known, [_held()], recorded, _at(60))
    assert cost is not None
    assert (cost.answered.requests, cost.answered.tokens) == answered
    assert (cost.per_thousand_requests, cost.per_million_tokens) == (per_thousand, per_million)
    again = settled(cost, [_held()], recorded, _at(120))
    assert again is not None
    assert (again.answered.requests, again.answered.tokens) == answered


def test_what_another_object_of_the_name_answered_is_not_its_own() -> None:
    cost = settled(None, [_held()], Answered(requests=7, tokens=9), NOW)
    assert cost is not None
    assert (cost.answered, cost.answered_before) == (Answered(), Answered(requests=7, tokens=9))


def test_the_cost_until_now_goes_on_between_two_writes() -> None:
    assert until_now(_cost(gpu_seconds=100, amount=1.0), _at(50)) == (200, 1.1)
    assert until_now(_cost(gpu_seconds=100, amount=None, per_hour=None), _at(50)) == (200, None)
    assert until_now(_cost(gpus=0, per_hour=None, gpu_seconds=100, amount=1.0), _at(50)) == (100, 1.0)


def _variant(amount: float, requests: int, before: float, requests_before: int, **told: Any) -> VariantCost:
    answered, known = Answered(requests=requests), Answered(requests=requests_before)
    return VariantCost(amount=amount, answered=answered, amount_before=before, answered_before=known, **told)


@pytest.mark.parametrize(
    ("known", "cost", "expected"),
    [
        (None, None, None),
        (None, _cost(amount=None), None),
        # from where its users begin to be counted
        (None, _cost(amount=9.0, answered=Answered(requests=50)), _variant(0, 0, 9.0, 50)),
        (
            _variant(0, 0, 9.0, 50),
            _cost(amount=10.0, answered=Answered(requests=2050)),
            _variant(1.0, 2000, 9.0, 50, per_thousand_requests=0.5),
        ),
        # the version is gone, or tells nothing: as it was
        (_variant(1.0, 2000, 9.0, 50), None, _variant(1.0, 2000, 9.0, 50)),
        # its own numbers began anew
        (_variant(1.0, 2000, 9.0, 50), _cost(amount=0.5), _variant(0, 0, 0.5, 0)),
    ],
)
def test_what_a_variant_cost_is_what_its_version_did_since(
    known: VariantCost | None, cost: Cost | None, expected: VariantCost | None
) -> None:
    assert counted_since(known, cost) == expected
