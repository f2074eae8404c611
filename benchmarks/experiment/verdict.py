"""The operator's verdict on what a recorder counted, as it is reached in an installation: one reconcile, which asks the
recorder, judges, keeps the decision and writes the status.

API server, MLflow and routers are played in this process, and their time counts, too.
"""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
from typing_extensions import override

from anneal_operator.decide.statistics.judgement import judge
from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.outside.routers import HttpRouters
from anneal_operator.reconcile.ab_experiment import ABExperimentKind
from anneal_operator.reconcile.harness import Harness
from anneal_operator.reconcile.queue import Key
from benchmarks.recorder_file import EXPERIMENT, METRIC
from tests.reconcile.world import NAMESPACE, FakeApi, FakeRouters, World
from tests.support.recorder import KEY

from .counted import CONTROL, LIMITS

__all__ = ["Judged", "judged", "verdicts"]

_SPEC: dict[str, Any] = {
    "modelName": "spam",
    "control": CONTROL,
    "variants": [
        {"name": CONTROL, "modelVersionRef": {"name": "one"}, "weight": 50},
        {"name": "tuned", "modelVersionRef": {"name": "two"}, "weight": 50},
    ],
    "metrics": {"primary": {"name": METRIC, "range": dict(zip(("min", "max"), LIMITS, strict=True)), "window": "24h"}},
    "stopping": {"minUsersPerVariant": 200, "minDuration": "1s", "maxDuration": "336h"},
}
_KEY = Key("ABExperiment", NAMESPACE, "x")


@dataclass(frozen=True)
class Judged:
    """The rule alone, on the numbers that a decision was kept with."""

    seconds: float
    lower: float
    upper: float


class _AskedRouters(FakeRouters):
    """Played routers, and a recorder that is asked over HTTP."""

    def __init__(self, api: FakeApi, asked: HttpRouters, url: str) -> None:
        super().__init__(api)
        self._asked, self._url = asked, url

    @override
    async def statistics(self, url: str, key: str, experiment_uid: str, metric: str) -> dict[str, Any]:
        del url, key, experiment_uid
        return await self._asked.statistics(self._url, KEY, EXPERIMENT, metric)


async def verdicts(url: str, rounds: int) -> tuple[list[float], Snapshot]:
    """Return the processor time of as many verdicts, each of an experiment of its own, and the numbers they rest on."""
    async with aiohttp.ClientSession() as session:
        found = [await _verdict(HttpRouters(session), url) for _ in range(rounds)]
    return [seconds for seconds, _ in found], found[-1][1]


async def _verdict(asked: HttpRouters, url: str) -> tuple[float, Snapshot]:
    world = _begun(asked, url)
    harness = Harness(ABExperimentKind(world.context), world.context)
    await world.models.ask("spam")
    await harness.reconcile(_KEY)
    await world.models.ask("spam")
    world.later(60)
    began = time.process_time()
    await harness.reconcile(_KEY)
    took = time.process_time() - began
    status = world.api.status("ABExperiment", "x")
    if status["phase"] != "Promoted":
        raise RuntimeError(f"the challenger is better, and it came to this: {status}")
    return took, Snapshot.read(json.loads(status["decision"]["snapshot"]))


def _begun(asked: HttpRouters, url: str) -> World:
    """Return a world in which counting has begun."""
    world = World()
    world.context = replace(world.context, routers=_AskedRouters(world.api, asked, url))
    world.api.put("ABExperiment", "x", spec=_SPEC, metadata={"uid": EXPERIMENT})
    for number, name in enumerate(("one", "two"), start=1):
        artifact = {"uri": "mlflow-artifacts:/1/r", "format": "Full", "digest": f"sha256:{number:064}"}
        status = {"phase": "Ready", "registry": {"version": str(number), "url": "u"}}
        world.api.put("ModelVersion", name, spec={"modelName": "spam", "artifact": artifact}, status=status)
    world.registry.aliases["spam", "production"] = "1"
    world.programme(split_by=EXPERIMENT)
    return world


def judged(snapshot: Snapshot) -> Judged:
    """Apply the rule once."""
    began = time.process_time()
    found = judge(snapshot.terms, snapshot.counts).compared[1]
    took = time.process_time() - began
    if found is None:
        raise RuntimeError("nothing can be said of these numbers")
    return Judged(took, found.lower, found.upper)
