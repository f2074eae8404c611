"""A version that is to get all clients of a model has the pods for them first."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from anneal_operator.api.route import Route
from anneal_operator.decide.acknowledgement import Awaited
from anneal_operator.decide.capacity import awaited, held_back
from anneal_operator.decide.routing import Capacity, Experiment, Last, Version, route_of

from .test_routing import _experiment

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
FEW, ENOUGH = Capacity(1, 4, 600), Capacity(4, 4, 600)
NEW = Version("two", "m", 2, ("production",), ready=True, capacity=FEW)
OLD = Version("one", "m", 1, (), ready=True, capacity=FEW)
WON = _experiment("Promoted", "b")
BAKING = _experiment("Baking", "b")
MOVED: Sequence[Experiment] = ()


def _route(
    versions: Sequence[Version],
    experiments: Sequence[Experiment] = MOVED,
    last: Last | None = None,
    known: Awaited | None = None,
    now: datetime = NOW,
) -> tuple[Route, Awaited | None]:
    last = last or Last("one")
    route = route_of("m", versions, experiments, last)
    found = awaited(route, versions, experiments, last, known, now)
    return held_back(route, found, versions, experiments, last, now), found


@pytest.mark.parametrize(
    ("versions", "experiments", "last", "default"),
    [
        ([OLD, NEW], MOVED, Last("one"), "one"),
        ([OLD, replace(NEW, capacity=ENOUGH)], MOVED, Last("one"), "two"),
        ([OLD, replace(NEW, capacity=None)], MOVED, Last("one"), "two"),
        # nobody has what is to be replaced, or it does not answer
        ([OLD, NEW], MOVED, Last(None), "two"),
        ([replace(OLD, ready=False), NEW], MOVED, Last("one"), "two"),
        ([replace(OLD, is_served=False), NEW], MOVED, Last("one"), "two"),
        ([NEW], MOVED, Last("gone"), "two"),
        # a rollback waits for nothing
        ([replace(OLD, aliases=("production",)), replace(NEW, aliases=())], MOVED, Last("two"), "one"),
        # a winner does, also one that is older
        ([OLD, replace(NEW, aliases=())], [WON], Last("one"), "one"),
        ([replace(OLD, number=3), replace(NEW, aliases=())], [WON], Last("one"), "one"),
        ([OLD, replace(NEW, aliases=(), capacity=ENOUGH)], [WON], Last("one"), "two"),
        ([OLD, replace(NEW, aliases=())], [BAKING], Last("one"), "one"),
        # nor does whoever returns from one that was not promoted after all, to one that is newer
        (
            [replace(OLD, number=3, aliases=("production",)), replace(NEW, aliases=())],
            [_experiment("Aborted", "b")],
            Last("two"),
            "one",
        ),
    ],
)
def test_clients_come_once_there_are_pods_for_all_of_them(
    versions: Sequence[Version], experiments: Sequence[Experiment], last: Last, default: str
) -> None:
    route, _ = _route(versions, experiments, last)
    assert route.default == default
    assert route.named.get("production", default) == default


def test_they_come_in_the_end_where_there_is_no_room_for_more_pods() -> None:
    _, first = _route([OLD, NEW])
    assert first == Awaited("two", 1, 4, LATER)
    more = [OLD, replace(NEW, capacity=Capacity(2, 4, 9000))]
    route, known = _route(more, known=first, now=LATER - timedelta(seconds=1))
    assert (route.default, known) == ("one", Awaited("two", 2, 4, LATER))
    route, known = _route(more, known=known, now=LATER)
    assert (route.default, known) == ("two", Awaited("two", 2, 4, LATER)), "it does not wait anew"
    assert _route(more, last=Last("two"), known=known, now=LATER)[1] is None
    other = replace(NEW, name="three", number=3)
    assert _route([OLD, other], known=first, now=NOW + timedelta(minutes=5))[1] == Awaited(
        "three", 1, 4, NOW + timedelta(minutes=15)
    )


@pytest.mark.parametrize(("won", "baking"), [(WON, []), (BAKING, ["b"])], ids=["promoted", "baking"])
@pytest.mark.parametrize(("uids", "names"), [([WON.uid], [WON.name]), ([], []), (["another"], [])])
def test_users_of_the_winner_stay_with_it_meanwhile(
    uids: list[str], names: list[str], won: Experiment, baking: list[str]
) -> None:
    split_by = dict.fromkeys(uids, 0)
    route, _ = _route([OLD, replace(NEW, aliases=())], [won], Last("one", split_by=split_by))
    assert [(split.name, split.baking) for split in route.splits] == [(name, "") for name in names]
    assert route.default == "one"
    route, _ = _route([OLD, replace(NEW, aliases=(), capacity=ENOUGH)], [won], Last("one", split_by=split_by))
    assert (route.default, [split.baking for split in route.splits]) == ("two", baking)


def test_experiments_beside_it_in_its_layer_go_on_as_they_were() -> None:
    def of(name: str, begin: int, phase: str, winner: str | None) -> Experiment:
        layer = {"layer": {"name": "l", "from": begin, "to": begin + 1000}}
        return replace(_experiment(phase, winner, assignment=layer), name=name, uid=f"uid-{name}")

    layered = [of("a", 0, "Running", None), of("b", 1000, "Promoted", "b"), of("c", 2000, "Running", None)]
    layered.append(of("d", 1500, "Running", None))
    last = Last("one", split_by={"uid-a": 0, "uid-b": 0, "uid-c": 0})
    route, _ = _route([OLD, replace(NEW, aliases=())], layered, last)
    assert [split.name for split in route.splits] == ["a", "b", "c"], "none begins among the users of one of them"


def test_they_stay_with_it_also_where_somebody_gives_it_production_meanwhile() -> None:
    moved, last = _experiment("Promoted", "b", alias=("True", "Moved")), Last("one", split_by={WON.uid: 0})
    route, _ = _route([OLD, NEW], [moved], last)
    assert (route.default, [split.name for split in route.splits]) == ("one", ["x"])
    assert _route([OLD, NEW], [moved], Last("one"))[0].splits == (), "not once they are elsewhere"


THREE = Version("three", "m", 3, (), ready=True)
ARMS = [
    {"name": name, "modelVersionRef": {"name": version}, "weight": 1}
    for name, version in (("a", "one"), ("b", "two"), ("c", "three"))
]


@pytest.mark.parametrize(("versions", "names"), [([THREE], ["x"]), ([replace(THREE, is_served=False)], []), ([], [])])
def test_nobody_stays_with_an_experiment_one_of_whose_versions_is_gone(
    versions: Sequence[Version], names: list[str]
) -> None:
    """As while it runs: what has no server is no target, so its users would be refused."""
    won = _experiment("Promoted", "b", variants=ARMS)
    last = Last("one", split_by={won.uid: 0})
    route, _ = _route([OLD, replace(NEW, aliases=()), *versions], [won], last)
    assert (route.default, [split.name for split in route.splits]) == ("one", names)
