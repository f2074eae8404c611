"""Chains of specs on the real API server, with the real operator: good, bad, good again, for all kinds.

Beside them stand objects whose statuses a newer build of the operator wrote: of these nothing may be lost.
"""

import asyncio
import copy
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import get_args

import pytest
import yaml

from anneal_operator.api.model_version import VersionPhase
from anneal_operator.api.resources import CUSTOM_RESOURCES
from tests.api.chains import Chain, chains
from tests.api.specs import GOOD
from toolbox.polling import poll

from .api_client import Answer, CustomResourceClient
from .conftest import CHECKOUT, Cluster
from .kept import lost
from .scripted_pods import at_home, scripted_spec
from .stand import Manifest, Stand, stand

pytestmark = [pytest.mark.timeout(3600)]
SAMPLE, ALL = 30, 1000
_AT_ONCE = 60
_SEED = int(os.environ.get("ANNEAL_TEST_SEED", "20261121"))
_CURRENT_SECONDS, _GONE_SECONDS = 40.0, 60.0
_CHILDREN = "jobs,configmaps,persistentvolumeclaims,services,deployments,replicasets,pods"
_STACKS = ("Traceback", "HTTPConnectionPool", "Errno", "object at 0x")
KINDS = [resource.kind for resource in CUSTOM_RESOURCES]
RESIDENTS = ("resident-1", "resident-2")
Ask = Callable[[CustomResourceClient, Chain], Awaitable[Answer]]


@pytest.fixture(scope="module")
def scene(running: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """An operator at work, two versions that are served, and what a newer operator left."""
    with stand(running, tmp_path_factory.mktemp("chains"), "spec-chains", volumes=20) as made:
        made.mlflow.metrics["r"] = {"accuracy": 0.9}
        for name in RESIDENTS:
            made.submit("ModelVersion", name, _resident())
        for kind in STRANGERS:
            made.submit(kind, "stranger", _stranger_spec(kind))
            made.write_status(kind, "stranger", STRANGERS[kind])
        made.lead()
        for name in RESIDENTS:
            made.wait("ModelVersion", name, lambda status: status.get("phase") == "Ready")
        yield made


def _resident() -> Manifest:
    return at_home("ModelVersion", {**GOOD["ModelVersion"], "modelName": "resident", "serving": {}})


def _schemas() -> dict[str, Manifest]:
    made = {}
    for resource in CUSTOM_RESOURCES:
        crd = yaml.safe_load((CHECKOUT / "crds" / f"{resource.plural}.yaml").read_text())
        made[resource.kind] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return made


def _at_home(chain: Chain, spec: Manifest) -> Manifest:
    """Half of the experiments compare versions that answer."""
    made = at_home(chain.kind, spec)
    if chain.kind == "ABExperiment" and int(chain.name.rpartition("-")[2]) % 2:
        made["modelName"] = "resident"
        made["variants"] = sorted(made["variants"], key=lambda one: one["name"] != made["control"])[: len(RESIDENTS)]
        for variant, resident in zip(made["variants"], RESIDENTS, strict=True):
            variant["modelVersionRef"] = {"name": resident}
    return made


def test_chains_of_specs_leave_the_operator_at_work_and_nothing_behind(scene: Stand) -> None:
    _live(scene, chains(_schemas(), SAMPLE, _SEED))


@pytest.mark.soak
def test_a_thousand_chains_of_specs(scene: Stand) -> None:
    every = chains(_schemas(), ALL, _SEED + 1)
    for first in range(0, ALL, _AT_ONCE):
        _live(scene, every[first : first + _AT_ONCE])


def _live(scene: Stand, some: Sequence[Chain]) -> None:
    process = scene.operator.process
    asyncio.run(_go_through(scene, some))
    assert poll(lambda: not _left(scene), _GONE_SECONDS, every=0.5), _left(scene)
    assert scene.operator.process is process, "the operator was started anew"
    assert scene.operator.is_alive()
    assert scene.operator.errors() == [], f"seed {_SEED}"
    assert scene.proxy.server_errors == []


async def _go_through(scene: Stand, some: Sequence[Chain]) -> None:
    async with CustomResourceClient(scene.cluster.api) as client:
        for ask, may in (
            (lambda client, chain: client.create(chain.kind, chain.name, chain.bad), "refused"),
            (lambda client, chain: client.create(chain.kind, chain.name, _at_home(chain, chain.good)), "accepted"),
            (lambda client, chain: client.change(chain.kind, chain.name, chain.bad), "refused"),
            (lambda client, chain: client.change(chain.kind, chain.name, _at_home(chain, chain.other)), "either"),
        ):
            await _each(client, some, ask, may)
        await _all_current(scene, some)
        await _each(
            client,
            some,
            lambda client, chain: client.change(chain.kind, chain.name, _at_home(chain, chain.allowed)),
            "either",
        )
        await _all_current(scene, some)
        await _each(client, some, lambda client, chain: client.delete(chain.kind, chain.name), "accepted")
        for kind in KINDS:  # what the finished jobs among them made outlives these
            for item in scene.cluster.api.objects(kind):
                if item["metadata"]["name"].startswith("chain-"):
                    await client.delete(kind, item["metadata"]["name"])


async def _each(client: CustomResourceClient, some: Sequence[Chain], ask: Ask, may: str) -> None:
    answers = await asyncio.gather(*(ask(client, chain) for chain in some))
    told = [(chain, answer) for chain, answer in zip(some, answers, strict=True) if not _is_fine(answer, may)]
    assert told == [], f"seed {_SEED}: {may} was expected"


def _is_fine(answer: Answer, may: str) -> bool:
    if answer.code < 300:
        return may != "refused"
    return may != "accepted" and 400 <= answer.code < 500 and bool(answer.message)


async def _all_current(scene: Stand, some: Sequence[Chain]) -> None:
    """Every object tells, of the spec that it has now, where it stands, in a sentence."""
    deadline = asyncio.get_running_loop().time() + _CURRENT_SECONDS
    names, api = {chain.name for chain in some}, scene.cluster.api
    while True:
        found = [item for kind in KINDS for item in api.objects(kind) if item["metadata"]["name"] in names]
        silent = [item for item in found if not _is_current(item)]
        if not silent:
            return
        told = {f"{item['kind']}/{item['metadata']['name']}": item.get("status") for item in silent}
        assert asyncio.get_running_loop().time() < deadline, f"seed {_SEED}: {json.dumps(told)}"
        await asyncio.sleep(0.5)


def _is_current(item: Manifest) -> bool:
    status, generation = item.get("status") or {}, item["metadata"]["generation"]
    said = [c["message"] for c in status.get("conditions", ()) if c["observedGeneration"] == generation]
    stacks = [message for message in said for word in _STACKS if word in message]
    assert not stacks, f"no sentence for a person: {stacks}"
    return status.get("observedGeneration") == generation and any(" " in message for message in said)


def _left(scene: Stand) -> list[str]:
    """What is there of the chains' objects; an experiment's record outlives it on purpose."""
    found = scene.cluster.get(f"{_CHILDREN},finetunejobs,modelversions,abexperiments")["items"]
    names = [f"{item['kind']}/{item['metadata']['name']}" for item in found]
    return [name for name in names if "/chain-" in name and not ("ConfigMap/" in name and "-record-" in name)]


_SINCE = "2026-01-01T00:00:00Z"


def _foreign(kind: str, status: str) -> Manifest:
    """A condition whose reason this build does not know."""
    told = {"message": "a newer build says so", "lastTransitionTime": _SINCE, "observedGeneration": 1}
    return {"type": kind, "status": status, "reason": "UnheardOf", **told}


_DECISION = {
    "outcome": "Winner",
    "winner": "tuned",
    "rule": "sequential-0.95",
    "reason": "tuned is better",
    "decidedAt": "2026-01-02T00:00:00Z",
    "snapshot": "{}",
    "power": 0.8,
}
STRANGERS: dict[str, Manifest] = {
    "FineTuneJob": {
        "phase": "Archived",
        "reason": "UnheardOf",
        "observedGeneration": 1,
        "gpus": 0,
        "conditions": [_foreign("Succeeded", "True"), _foreign("Distilled", "True")],
        "modelVersionRef": {"name": "gone"},
        "archive": {"uri": "s3://attic/stranger"},
    },
    "ModelVersion": {
        "phase": "Parked",
        "reason": "UnheardOf",
        "observedGeneration": 1,
        "replicas": 0,
        "readyReplicas": 0,
        "selector": "anneal.dev/model-version=stranger",
        "conditions": [_foreign("Registered", "True"), _foreign("Mirrored", "True")],
        "registry": {"version": "7", "url": "http://m", "aliases": [], "aliasesSet": ["candidate"], "stage": "Cold"},
        "parkedAt": _SINCE,
    },
    "ABExperiment": {
        "phase": "Baking",
        "reason": "UnheardOf",
        "observedGeneration": 1,
        "users": 900,
        "variants": [],
        "startedAt": _SINCE,
        "conditions": [_foreign("Decided", "True"), _foreign("Holdback", "True")],
        "decision": _DECISION,
        "bakeEndsAt": "2026-01-03T00:00:00Z",
    },
}
_REJUDGED = {"ModelVersion": ("phase", "reason", "Registered"), "ABExperiment": ("reason",)}
"""What pods and MLflow say at any time; nothing is decided by it."""


def _stranger_spec(kind: str) -> Manifest:
    if kind == "FineTuneJob":
        return scripted_spec()
    return {
        **copy.deepcopy(GOOD[kind]),
        "modelName": "stranger",
        **({"aliases": ["candidate"]} if "artifact" in GOOD[kind] else {}),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_newer_build_wrote_is_neither_lost_nor_decided_anew(scene: Stand, kind: str) -> None:
    """While the operator works on the neighbours, which came later."""
    neighbour = f"neighbour-{kind.lower()}"
    scene.submit(kind, neighbour, _stranger_spec(kind))
    scene.wait(kind, neighbour, lambda status: status.get("observedGeneration") == 1)
    if kind == "ModelVersion":  # how its pods stand is no decision
        scene.wait(kind, "stranger", lambda status: status.get("phase") in get_args(VersionPhase))
    assert lost(STRANGERS[kind], scene.status(kind, "stranger"), _REJUDGED.get(kind, ())) == []
    made = scene.cluster.get("jobs,deployments", "-l", "app.kubernetes.io/instance=stranger")["items"]
    assert made == [], "it was begun anew"
    assert scene.mlflow.aliases.get(("stranger", "candidate")) != "7", "the alias was set a second time"
    assert scene.operator.errors() == []


def test_an_ended_job_tells_of_the_spec_that_it_has_now(scene: Stand) -> None:
    scene.submit("FineTuneJob", "ended", scripted_spec(activeDeadlineSeconds=1))
    scene.wait("FineTuneJob", "ended", lambda status: status.get("phase") == "Failed")
    scene.submit("FineTuneJob", "ended", scripted_spec(activeDeadlineSeconds=2))
    assert poll(lambda: scene.status("FineTuneJob", "ended").get("observedGeneration") == 2, 5, every=0.5)
