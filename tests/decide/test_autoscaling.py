"""How many pods the requests under way ask for: more at once, fewer once that has held."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anneal_operator.api.serving import Serving
from anneal_operator.decide.autoscaling import Sample, replicas_for

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 6, "targetRequests": 10, "scaleDownDelay": "1m"}


def _serving(replicas: int = 1, **changes: Any) -> Serving:
    return Serving.parse({"replicas": replicas, "autoscaling": AUTOSCALING | changes})


def _told(*requests: int, every: float = 5.0, until: float = 0.0) -> list[Sample]:
    """What was told last, one after the other."""
    first = NOW - timedelta(seconds=until + every * (len(requests) - 1))
    return [Sample(first + timedelta(seconds=every * number), count) for number, count in enumerate(requests)]


MINUTE = 13
"""So many samples reach back beyond the delay."""


@pytest.mark.parametrize(
    ("current", "samples", "replicas"),
    [
        (2, _told(20), 2),
        (2, _told(21), 3),
        (2, _told(0, 0, 45), 5),
        (2, _told(1000), 6),
        (1, _told(1000), 5),
        # fewer only once that has sufficed for as long as the delay
        (5, _told(*[11] * MINUTE), 2),
        (5, _told(*[31] * MINUTE), 4),
        (5, _told(*[11] * (MINUTE - 2)), 5),
        (5, _told(*[11] * (MINUTE - 3), 41, 11, 11), 5),
        (5, _told(*[11] * (MINUTE - 3), 31, 11, 11), 4),
        (5, _told(41, *[11] * MINUTE), 2),
        # or as soon as it is known, and of a gap it is not
        (5, [], 5),
        (5, _told(*[11] * MINUTE, until=60), 5),
        (5, _told(*[11] * 4, every=20), 5),
        (5, _told(*[11] * 5, every=15), 2),
        # bounds that were changed hold at once
        (9, [], 6),
        (1, [], 2),
    ],
)
def test_more_pods_come_at_once_and_fewer_once_they_have_sufficed(
    current: int, samples: list[Sample], replicas: int
) -> None:
    assert replicas_for(_serving(), current, samples, NOW) == replicas


@pytest.mark.parametrize(
    ("replicas", "current", "wanted"), [(1, None, 2), (4, None, 4), (9, None, 6), (4, 0, 4), (0, 3, 0), (0, None, 0)]
)
def test_it_begins_with_its_replicas_and_none_are_none(replicas: int, current: int | None, wanted: int) -> None:
    assert replicas_for(_serving(replicas), current, _told(*[30] * MINUTE), NOW) == wanted


def test_one_that_may_have_no_pods_has_one_while_it_is_to_have_any() -> None:
    serving = _serving(0, minReplicas=0)
    assert replicas_for(serving, None, [], NOW) == 0
    assert replicas_for(_serving(1, minReplicas=0), 0, [], NOW) == 1
    assert replicas_for(_serving(1, minReplicas=0), 3, _told(*[0] * MINUTE), NOW) == 1


def test_where_a_router_did_not_tell_there_may_be_more_requests_and_never_fewer() -> None:
    told = [Sample(sample.at, sample.requests, is_whole=number != 4) for number, sample in enumerate(_told(*[11] * 13))]
    assert replicas_for(_serving(), 5, told, NOW) == 5
    assert replicas_for(_serving(), 5, [Sample(NOW, 51, is_whole=False)], NOW) == 6


def test_what_is_to_get_all_clients_has_pods_for_them_before_they_come() -> None:
    assert replicas_for(_serving(), 2, _told(*[0] * MINUTE), NOW, at_least=5) == 5
    assert replicas_for(_serving(), None, [], NOW, at_least=9) == 6


def test_without_autoscaling_there_are_its_replicas() -> None:
    assert replicas_for(Serving(replicas=3), 1, _told(1000), NOW) == 3
