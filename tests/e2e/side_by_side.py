"""Tests that begin together: most of a job's life is waiting, for a node, a probe, a grace period, a deadline."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .bench import Bench, furnished
from .conftest import Cluster

__all__ = ["Beginnings", "beginnings", "beside_others"]

_AT_ONCE = 3
Body = Callable[[Bench], None]
Beginnings = Mapping[str, "Future[None]"]
_BODIES: dict[str, Body] = {}


def beside_others(body: Body) -> Callable[[Beginnings], None]:
    """Have a test's body begin beside others of its module, in a thread and a namespace of its own.

    The test itself waits for the end of its body. They begin in the order of the module: first what waits long, then
    what keeps the processors busy. What breaks the operator or the cluster for the others cannot run so.
    """
    _BODIES[body.__name__] = body

    def test(beginnings: Beginnings) -> None:
        beginnings[body.__name__].result()

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


def beginnings(running: Cluster, request: pytest.FixtureRequest) -> Iterator[Beginnings]:
    """Begin the module's selected bodies, a few at once, with the fixtures that they are marked to use.

    All fixtures are there before the first body begins, for making one may disturb the cluster; where that fails, the
    bodies that use it fail, and the others begin.
    """
    items = [item for item in request.session.items if item.path == request.path]
    used = {item.name: {name for mark in item.iter_markers("usefixtures") for name in mark.args} for item in items}
    failed = {name: error for name in set().union(*used.values()) if (error := _failure(request, name))}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield {
            name: pool.submit(_run, body, running, [failed[fixture] for fixture in used[name] if fixture in failed])
            for name, body in _BODIES.items()
            if name in used
        }
        pool.shutdown(cancel_futures=True)


def _failure(request: pytest.FixtureRequest, fixture: str) -> Exception | None:
    try:
        request.getfixturevalue(fixture)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told by the bodies that use the fixture
        return error
    return None


def _run(body: Body, running: Cluster, lacking: Sequence[Exception]) -> None:
    if lacking:
        raise lacking[0]
    with furnished(running, body.__name__) as bench:
        body(bench)
