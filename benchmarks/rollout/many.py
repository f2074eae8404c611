"""What many versions cost the operator: its memory, and what it writes while nothing happens.

A hundred of one model, of which twenty are served as adapters on one base. What it writes is what the API server wrote
down in its audit log by the operator's account; renewals of its lease are not there, and reviews of tokens write
nothing.
"""

import json
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from anneal_operator.desired.shared_base import SHARED_BASE_LABEL
from benchmarks.control_plane.managers import rss_mib
from demo.installation import SYSTEM
from local_cluster.layout import Layout
from tests.e2e.served import Served
from tests.support.cluster import Cluster
from toolbox.polling import poll

from .figures import Figure
from .scene import FIRST, Scene

__all__ = ["measure_many", "writes_in"]

_VERSIONS, _ADAPTERS = 100, 20
_PATIENCE, _QUIET_SECONDS, _IDLE_SECONDS = 240.0, 15.0, 60.0
_OPERATOR = f"system:serviceaccount:{SYSTEM}:anneal-operator"
_REVIEWS = ("tokenreviews", "subjectaccessreviews")


def measure_many(scene: Scene) -> list[Figure]:
    """Make them beside the first adapter, and look at the operator for a minute after it has come to rest."""
    layout, registered = scene.bench.cluster.layout, scene.spec(FIRST)
    registered.pop("serving")
    served = [f"many-{number}" for number in range(_ADAPTERS)]
    others = [f"many-{number}" for number in range(_ADAPTERS, _VERSIONS)]
    specs = {name: scene.published(name) for name in served}
    began = time.monotonic()
    for name in (*served, *others):
        scene.submit(name, specs.get(name, registered))
    scene.wait(lambda: not _unsettled(scene, served, others), "all versions are registered", _PATIENCE)
    seconds = time.monotonic() - began
    [engine] = scene.bench.cluster.api.objects("Deployment", SHARED_BASE_LABEL)  # one base has them all
    if not poll(lambda: not any(_writes(layout, time.time() - _QUIET_SECONDS)), _PATIENCE, every=1.0):
        raise TimeoutError(f"the operator writes on: {list(_writes(layout, time.time() - _QUIET_SECONDS))[-5:]}")
    began_idle = time.time()
    poll(lambda: False, _IDLE_SECONDS, every=1.0)
    written = list(_writes(layout, began_idle))
    what = f"{_VERSIONS} versions registered, {_ADAPTERS} of them adapters on {engine['metadata']['name']}"
    return [
        Figure(f"the operator's resident memory with {what}", [_operator_mib(scene)], "MiB", at_most=300.0),
        Figure("its writes per minute while nothing happens", [60.0 * len(written) / _IDLE_SECONDS], at_most=0.0),
        Figure("from the first of them applied until all are registered, and the adapters answer", [seconds], "s"),
    ]


def _unsettled(scene: Scene, served: Iterable[str], others: Iterable[str]) -> list[str]:
    versions = {one["metadata"]["name"]: one for one in scene.bench.cluster.api.objects("ModelVersion")}
    phases = {name: (one.get("status") or {}).get("phase") for name, one in versions.items()}
    wanted = {**dict.fromkeys(served, "Ready"), **dict.fromkeys(others, "Idle")}
    return [name for name, phase in wanted.items() if phases.get(name) != phase]


def _operator_mib(scene: Scene) -> float:
    """Of the operator's container in its pod."""
    system = Served(Cluster(scene.bench.cluster.layout, SYSTEM), scene.folder, SYSTEM)
    [pod] = system.pods("app.kubernetes.io/name=anneal-operator")
    return rss_mib([process.pid for process in system.processes(pod, "operator")])


def _writes(layout: Layout, since: float) -> Iterator[str]:
    """What the operator has written since."""
    for path in layout.logs.glob("audit*.log"):
        if path.stat().st_mtime >= since:
            yield from writes_in(_lines(path), since)


def _lines(path: Path) -> Iterator[str]:
    with path.open() as file:
        yield from file


def writes_in(lines: Iterable[str], since: float) -> Iterator[str]:
    """Yield what the operator wrote in the lines of an audit log from a time on."""
    for line in lines:
        if f'"{_OPERATOR}"' not in line or not line.endswith("\n"):  # one that is being written
            continue
        event = json.loads(line)
        resource = event["objectRef"]["resource"]
        if datetime.fromisoformat(event["stageTimestamp"]).timestamp() >= since and resource not in _REVIEWS:
            yield f"{event['verb']} {event['requestURI']}"
