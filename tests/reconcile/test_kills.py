"""The operator killed before and after every write of a job's life: the end is that of an undisturbed run.

In memory, so that every write of several jobs' lives has its turn; `tests/e2e/test_demo.py` kills the real process.
"""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from anneal_operator.cluster.client import KubernetesApi
from anneal_operator.cluster.inputs import Inputs
from anneal_operator.cluster.reading import Readers
from anneal_operator.cluster.store import Store
from anneal_operator.handlers.watching import OWNERS
from anneal_operator.reconcile.fine_tune_job import FineTuneJobKind
from anneal_operator.reconcile.harness import Harness
from anneal_operator.reconcile.queue import Key
from tests.decide.test_fine_tune_job import RESULTS

from .world import NAMESPACE, FakeApi, Manifest, World

KEY = Key("FineTuneJob", NAMESPACE, "job")
SPEC: Manifest = {
    "base": {"uri": "configmap://tiny", "initialize": "Random"},
    "tuning": {"method": "Full"},
    "dataset": {"sources": [{"uri": "configmap://data/rows.jsonl"}]},
    "output": {"modelName": "spam"},
}
LIVES: dict[str, Manifest] = {
    "one node": {},
    "two nodes": {"stages": {"train": {"nodes": 2}}, "storage": {"template": {"accessModes": ["ReadWriteMany"]}}},
    "an experiment": {
        "output": {"modelName": "spam", "serving": {}, "experiment": {"metrics": {"primary": {"name": "stars"}}}}
    },
    "bad data": {"maxAttempts": 1},
    "suspended once": {"suspend": False},
}
PUBLISHED = {"uri": "mlflow-artifacts:/1/r/artifacts/model", "digest": "sha256:" + "0" * 64}
CHANGING = {"resourceVersion", "uid", "creationTimestamp", "lastTransitionTime"}


class _Killed(BaseException):
    """The process is gone; nothing of ours may catch this."""


class _DeadlyApi(FakeApi):
    """Ends the process at one write, before the API server took it or after."""

    def __init__(self, at: int, *, after: bool) -> None:
        super().__init__()
        self._at, self._after = at, after
        self.count = 0

    def _turn(self, *, after: bool) -> None:
        if not after:
            self.count += 1
        if self.count == self._at and after is self._after:
            self._at = -1
            raise _Killed

    @override
    async def create(self, manifest: Manifest) -> Manifest:
        self._turn(after=False)
        made = await super().create(manifest)
        self._turn(after=True)
        return made

    @override
    async def apply(self, manifest: Manifest) -> Manifest:
        self._turn(after=False)
        made = await super().apply(manifest)
        self._turn(after=True)
        return made

    @override
    async def patch(self, kind: str, namespace: str, name: str, changes: Manifest) -> None:
        self._turn(after=False)
        await super().patch(kind, namespace, name, changes)
        self._turn(after=True)

    @override
    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        self._turn(after=False)
        await super().delete(kind, namespace, name, uid)
        self._turn(after=True)

    @override
    async def write_status(self, kind: str, current: Manifest, status: Manifest) -> Manifest:
        self._turn(after=False)
        written = await super().write_status(kind, current, status)
        self._turn(after=True)
        return written


def _live(life: str, at: int = -1, *, after: bool = False) -> _DeadlyApi:
    """Bring a job from its beginning to its end, with one kill on the way; the operator is started again at once."""
    world, api = World(), _DeadlyApi(at, after=after)
    api.put("FineTuneJob", "job", spec=SPEC | LIVES[life])
    api.put("ConfigMap", "data", data={"rows.jsonl": ""})
    api.put("ConfigMap", "tiny", data={"config.json": "{}"})
    registry = {"version": "1", "url": "u", "aliases": ["production"]}
    api.put("ModelVersion", "current", spec={"modelName": "spam"}, status={"registry": registry})
    world.api = api
    rested = False
    for _ in range(60):
        _look(world, api)
        if api.status("FineTuneJob", "job").get("phase") in {"Succeeded", "Failed"}:
            return api
        stage = _at_work(api)
        if stage == "train" and life == "suspended once" and not rested:
            rested = _rest(world, api)
        elif stage:
            _end(world, stage, fails=life == "bad data")
    raise AssertionError("the job does not end")


def _look(world: World, api: KubernetesApi) -> None:
    store = Store(OWNERS)
    context = replace(world.context, api=api, store=store, readers=Readers(api, store), inputs=Inputs(api))
    try:
        asyncio.run(Harness(FineTuneJobKind(context), context).reconcile(KEY))
    except _Killed:
        return


def _at_work(api: FakeApi) -> str | None:
    found = [made for (kind, _), made in api.objects.items() if kind == "Job" and "status" not in made]
    return found[-1]["metadata"]["labels"]["anneal.dev/stage"] if found else None


def _rest(world: World, api: FakeApi) -> bool:
    """Suspend and go on, each until the attempt's Job is gone, or there."""
    for suspend in (True, False):
        api.objects["FineTuneJob", "job"]["spec"]["suspend"] = suspend
        while (("Job", "job-train-1") not in api.objects) is not suspend:
            _look(world, api)
    return True


def _end(world: World, stage: Any, *, fails: bool) -> None:
    if fails:
        world.finish("job", stage, {"error": "DataError", "message": "no row can be used"}, exit_code=65)
        return
    result: Manifest = RESULTS[stage].model_dump(mode="json")
    world.finish("job", stage, result | (PUBLISHED if stage == "publish" else {}))


def _without_what_changes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_what_changes(inner) for key, inner in value.items() if key not in CHANGING}
    return [_without_what_changes(inner) for inner in value] if isinstance(value, list) else value


def _made(api: FakeApi) -> list[str]:
    """What was created, each time; what is applied, as a Service is, may be so again."""
    made = [write for write in api.writes if write.count("/") == 1]
    applied = {write for write in made if write.startswith("Service/")}
    return sorted([*applied, *(write for write in made if write not in applied)])


@pytest.mark.parametrize("life", LIVES)
def test_a_kill_at_any_write_changes_nothing_of_the_end(life: str) -> None:
    undisturbed = _live(life)
    end = {key: _without_what_changes(made) for key, made in undisturbed.objects.items()}
    assert undisturbed.count > 4
    for at in range(1, undisturbed.count + 1):
        for after in (False, True):
            api = _live(life, at, after=after)
            assert {key: _without_what_changes(made) for key, made in api.objects.items()} == end, (at, after)
            assert _made(api) == _made(undisturbed), f"after a kill at write {at}"
