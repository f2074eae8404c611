"""The custom resources on the real API server, with no operator there: what it accepts, refuses and explains."""

import asyncio
import copy
import json
import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from anneal_operator.api.resources import CUSTOM_RESOURCES, GROUP, VERSION, CustomResource
from anneal_operator.cluster.client import KubernetesClient
from anneal_operator.cluster.kinds import KINDS
from anneal_operator.errors import ApiError
from tests.api.schemas import generated_spec, hostile_specs
from tests.api.specs import CASES, GOOD, Case

from .conftest import CHECKOUT, Cluster

Json = dict[str, Any]
DIFFERENTIAL = 2000
_AT_ONCE = 16
_SEED = 20261121
_REFUSALS = {400, 413, 422}


@pytest.fixture(scope="module")
def crds(running: Cluster) -> Cluster:
    """The cluster with our CRDs established."""
    running.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CHECKOUT / "crds"))
    names = [f"crd/{resource.plural}.{GROUP}" for resource in CUSTOM_RESOURCES]
    running.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
    return running


def _object(kind: str, spec: Json, name: str = "sample", namespace: str = "default") -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": metadata, "spec": spec}


async def _answers(cluster: Cluster, objects: list[Json]) -> list[str | None]:
    """Dry-run every object; return None for each that is accepted, else the server's message."""
    client = await KubernetesClient.from_kubeconfig(str(cluster.layout.kubeconfig))
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(manifest: Json) -> str | None:
        async with gate:
            try:
                await client.create(manifest, dry_run=True)
            except ApiError as error:
                if error.status not in _REFUSALS:
                    raise
                return str(error)
            return None

    try:
        return await asyncio.gather(*(one(manifest) for manifest in objects))
    finally:
        await client.close()


def test_each_spec_is_accepted_or_refused_for_its_reason(crds: Cluster) -> None:
    answers = asyncio.run(_answers(crds, [_object(case.kind, case.spec) for case in CASES]))
    wrong = [(case.name, answer) for case, answer in zip(CASES, answers, strict=True) if not _as_told(case, answer)]
    assert wrong == []


def _as_told(case: Case, answer: str | None) -> bool:
    return answer is None if case.refused is None else answer is not None and case.refused in answer


def test_server_and_models_agree_on_two_thousand_generated_specs(crds: Cluster) -> None:
    rng = random.Random(_SEED)
    schemas = {resource.kind: _schema(resource) for resource in CUSTOM_RESOURCES}
    kinds = islice(cycle(CUSTOM_RESOURCES), DIFFERENTIAL)
    specs = [(resource, generated_spec(schemas[resource.kind], rng)) for resource in kinds]
    answers = asyncio.run(_answers(crds, [_object(resource.kind, spec) for resource, spec in specs]))
    differing, accepted = [], 0
    for (resource, spec), answer in zip(specs, answers, strict=True):
        ours = _refusal(resource, spec)
        accepted += answer is None
        if (ours is None) != (answer is None):
            differing.append((json.dumps(spec)[:600], f"server: {answer}", f"model: {ours}"))
    assert differing == []
    assert DIFFERENTIAL * 0.2 < accepted < DIFFERENTIAL * 0.8, "a generator that only makes one sort proves little"


def _schema(resource: CustomResource, part: str = "spec") -> Json:
    made = yaml.safe_load((CHECKOUT / "crds" / f"{resource.plural}.yaml").read_text())
    schema: Json = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
    return schema


def _refusal(resource: CustomResource, spec: Any) -> str | None:
    try:
        resource.spec.parse(spec)
    except ValidationError as error:
        return str(error)
    return None


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_explain_describes_every_field_at_every_level(crds: Cluster, resource: CustomResource) -> None:
    # --recursive prints the tree without descriptions, so every object is asked for by itself.
    whole = {"properties": {part: _schema(resource, part) for part in ("spec", "status")}}
    for path in _objects(whole, resource.singular):
        told = crds.kubectl("explain", path)
        assert "DESCRIPTION:" in told
        assert "<no description>" not in told, path


def _objects(schema: Json, path: str) -> Iterator[str]:
    if "properties" in schema:
        yield path
        for name, field in schema["properties"].items():
            yield from _objects(field, f"{path}.{name}")
            yield from _objects(field.get("items", {}), f"{path}.{name}")


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_an_unknown_field_is_reported(crds: Cluster, kind: str) -> None:
    spec = copy.deepcopy(GOOD[kind]) | {"unheardOf": 1}
    done = crds.kubectl.process("apply", "--dry-run=server", "-f", "-", given=json.dumps(_object(kind, spec)))
    assert done.returncode != 0
    assert 'unknown field "spec.unheardOf"' in done.stderr


@pytest.mark.parametrize(("name", "text"), hostile_specs(), ids=lambda value: value if len(value) < 30 else "")
def test_hostile_input_is_refused_clearly(crds: Cluster, name: str, text: str) -> None:
    manifest = json.dumps(_object("FineTuneJob", GOOD["FineTuneJob"])).replace('"models:/spam-filter@base"', text)
    done = crds.kubectl.process("create", "--dry-run=server", "-f", "-", given=manifest)
    assert done.returncode != 0, name
    assert done.stderr.strip()
    assert "panic" not in done.stderr
    assert "Internal" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [
        ("FineTuneJob", "training", {"maxSteps": 5}, "`training` cannot change"),
        ("FineTuneJob", "output", {"modelName": "other"}, "`output` cannot change"),
        ("FineTuneJob", "scheduling", {"queueName": "q"}, "`scheduling` can change only while the job is suspended"),
        ("FineTuneJob", "podTemplate", {"affinity": {"nodeAffinity": {"a": 1}}}, "only while the job is suspended"),
        ("FineTuneJob", "suspend", True, None),
        ("ModelVersion", "modelName", "other", "`modelName` cannot change"),
        ("ModelVersion", "artifact", GOOD["ModelVersion"]["artifact"] | {"format": "Full"}, "`artifact` cannot change"),
        ("ModelVersion", "aliases", ["staging"], None),
        ("ModelVersion", "serving", {"replicas": 3}, None),
        ("ABExperiment", "control", "tuned", "an experiment that changes while it runs proves nothing"),
        (
            "ABExperiment",
            "variants",
            GOOD["ABExperiment"]["variants"][::-1],
            "that changes while it runs proves nothing",
        ),
        ("ABExperiment", "type", "AA", "`type` cannot change"),
        ("ABExperiment", "metrics", {"primary": {"name": "other"}}, "`metrics` cannot change"),
        ("ABExperiment", "metrics", {"primary": {"direction": "Decrease"}}, "`metrics` cannot change"),
        ("ABExperiment", "metrics", {"primary": {"range": {"min": 1, "max": 5}}}, "`metrics` cannot change"),
        ("ABExperiment", "metrics", {"secondary": [{"name": "solved"}]}, "`metrics` cannot change"),
        ("ABExperiment", "metrics", {"primary": {"direction": "Increase"}}, None),
        ("ABExperiment", "stopping", {"maxDuration": "500h"}, "`stopping` cannot change"),
        ("ABExperiment", "assignment", {"salt": "s"}, "`assignment.salt` cannot change"),
        ("ABExperiment", "assignment", {"ramp": [{"coverage": 50}]}, "`assignment.ramp` cannot be added"),
        ("ABExperiment", "decision", {"bake": "1h"}, "`decision.bake` cannot change"),
        ("ABExperiment", "suspend", True, None),
        ("ABExperiment", "abort", True, None),
    ],
)
def test_what_may_change_later(
    cluster: Cluster, crds: Cluster, kind: str, path: str, value: Any, message: str | None
) -> None:
    assert crds.layout == cluster.layout
    cluster.apply(_object(kind, GOOD[kind], namespace=cluster.namespace))
    patch = json.dumps({"spec": {path: value}})
    done = cluster.kubectl.process("patch", kind.lower(), "sample", "--type=merge", "-p", patch)
    if message is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0
        assert message in done.stderr


def test_what_people_want_of_an_experiment_that_runs_may_change(cluster: Cluster, crds: Cluster) -> None:
    assert crds.layout == cluster.layout
    ramp = [{"coverage": 5, "for": "1h"}, {"coverage": 100}]
    spec = {**GOOD["ABExperiment"], "assignment": {"ramp": ramp}, "decision": {"mode": "Recommend"}}
    cluster.apply(_object("ABExperiment", spec, namespace=cluster.namespace))
    for changed, refused in (
        ({"suspend": True}, ""),
        ({"suspend": False}, ""),
        ({"assignment": {"ramp": [{"coverage": 50, "for": "2h"}, {"coverage": 90}]}}, ""),
        ({"assignment": {"ramp": []}}, ""),
        ({"decision": {"approve": "stable"}}, "must be the name of a challenger"),
        ({"decision": {"approve": "tuned"}}, ""),
        ({"abort": True}, ""),
        ({"abort": False}, "`abort` cannot be taken back"),
    ):
        patch = json.dumps({"spec": changed})
        done = cluster.kubectl.process("patch", "abx", "sample", "--type=merge", "-p", patch)
        assert (done.returncode == 0, refused in done.stderr) == (not refused, True), done.stderr


def test_where_a_job_runs_may_change_while_it_is_suspended(cluster: Cluster, crds: Cluster) -> None:
    assert crds.layout == cluster.layout
    cluster.apply(_object("FineTuneJob", {**GOOD["FineTuneJob"], "suspend": True}, namespace=cluster.namespace))
    moved = {
        "scheduling": {"queueName": "q"},
        "podTemplate": {"nodeSelector": {"pool": "b"}, "priorityClassName": "low"},
    }
    done = cluster.kubectl.process("patch", "ftj", "sample", "--type=merge", "-p", json.dumps({"spec": moved}))
    assert done.returncode == 0, done.stderr
    fixed = json.dumps({"spec": {"podTemplate": {"env": [{"name": "A"}]}}})
    done = cluster.kubectl.process("patch", "ftj", "sample", "--type=merge", "-p", fixed)
    assert "`podTemplate.env` cannot change" in done.stderr


def test_kubectl_scales_a_version(cluster: Cluster, crds: Cluster) -> None:
    assert crds.layout == cluster.layout
    spec = {**GOOD["ModelVersion"], "serving": {"replicas": 1}}
    cluster.apply(_object("ModelVersion", spec, namespace=cluster.namespace))
    cluster.kubectl("scale", "mv/sample", "--replicas=3")
    assert cluster.get("modelversion", "sample")["spec"]["serving"]["replicas"] == 3


@pytest.mark.parametrize("name", ["a" * 41, "has.dots", "9starts-with-a-digit"])
def test_a_name_that_its_children_could_not_carry_is_refused(crds: Cluster, name: str) -> None:
    answer = asyncio.run(_answers(crds, [_object("FineTuneJob", GOOD["FineTuneJob"], name)]))[0]
    assert answer is not None
    assert "at most 40" in answer


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_short_name_and_category(crds: Cluster, resource: CustomResource) -> None:
    listed = crds.kubectl("api-resources", "--api-group", GROUP, "-o", "wide")
    row = next(line.split() for line in listed.splitlines() if line.startswith(resource.plural))
    assert row[1] == resource.short_name
    assert "anneal" in row


def test_every_kind_the_operator_touches_has_its_path(crds: Cluster) -> None:
    """But for those that a cluster may do without."""
    listed = crds.kubectl("api-resources", "--no-headers")
    known = {(line.split()[-3], line.split()[-1], line.split()[0]) for line in listed.splitlines()}
    kinds = {(kind.api_version, kind.name, kind.plural) for kind in KINDS.values()}
    assert {kind for kind in kinds if not kind[0].startswith(("gateway.", "keda.", "leaderworkerset."))} <= known
