"""The start of a version beside plain vLLM's with the same flags: from what is applied to the first token.

Ours registers the version, makes its objects, downloads and verifies the weights, starts vLLM, compares its answers
with training, warms it up and leads clients there. Plain is a pod of the same image, environment and resources, whose
weights lie on its node; it is asked by its address. It is started as a module, since the command `vllm serve` looks for
a distribution of vLLM's name, which that for processors has not. They take turns, each alone; who is first changes.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anneal_operator.desired.serving import ENGINE_PORT, VERSION_LABEL
from serving_runtime.command import engine_command, engine_environment
from serving_runtime.plan import ServingPlan
from tests.e2e.adapters import BASE, SERVING
from tests.support.cluster import Cluster, own_namespace

from .figures import Figure
from .scene import Manifest, Scene, answers

__all__ = ["flags", "measure_cold_start", "plain_pod", "plan_in"]

_ROUNDS, _PATIENCE, _GONE_SECONDS = 3, 240.0, 120.0
_OURS = "ANNEAL_"
_DEDICATED = {name: value for name, value in SERVING.items() if name not in {"sharing", "adapters"}}
_FOLDER, _VOLUME = "/model", "plain-weights"


def measure_cold_start(scene: Scene) -> list[Figure]:
    """Start both so often."""
    folder = scene.folder / BASE
    scene.fetch(scene.spec(BASE)["artifact"]["uri"], folder)
    ours, plain, template = list[float](), list[float](), Manifest()
    with own_namespace(scene.bench.cluster, "rollout plain") as elsewhere:
        for number in range(_ROUNDS):
            if number % 2:  # not the first: what plain is made like has to be there
                plain.append(_plain(scene, elsewhere, f"plain-{number}", template, folder))
            seconds, template = _ours(scene, f"cold-{number}")
            ours.append(seconds)
            if not number % 2:
                plain.append(_plain(scene, elsewhere, f"plain-{number}", template, folder))
    ratios = [one / other for one, other in zip(ours, plain, strict=True)]
    return [
        Figure(
            "cold start of a version, until its first token / plain vLLM's with the same flags", ratios, at_most=1.1
        ),
        Figure("cold start of a version", ours, "s"),
        Figure("plain vLLM's", plain, "s"),
    ]


def _ours(scene: Scene, name: str) -> tuple[float, Manifest]:
    """Return the seconds, and the template of the pods that the operator made."""
    made = {key: value for key, value in scene.spec(BASE).items() if key != "aliases"}
    spec, cluster, router = {**made, "modelName": name, "serving": _DEDICATED}, scene.bench.cluster, scene.router
    began = time.monotonic()
    scene.submit(name, spec)
    scene.wait(lambda: answers(router, name), f"{name} answers", _PATIENCE)
    seconds = time.monotonic() - began
    template: Manifest = cluster.api.object("Deployment", f"{name}-server")["spec"]["template"]["spec"]
    cluster.kubectl("delete", "modelversion", name)
    chosen = f"{VERSION_LABEL}={name}"
    scene.wait(lambda: not cluster.api.objects("Deployment", chosen), f"{name} has no Deployment", _GONE_SECONDS)
    cluster.kubectl("delete", "pods", "-l", chosen, "--grace-period=0", "--force")
    scene.wait(lambda: not cluster.api.objects("Pod", chosen), f"{name} has no pods", _GONE_SECONDS)
    return seconds, template


def _plain(scene: Scene, elsewhere: Cluster, name: str, template: Manifest, folder: Path) -> float:
    plan = plan_in(template)
    pod = plain_pod(name, template, flags(plan, folder), engine_environment(plan, folder), folder)
    began = time.monotonic()
    elsewhere.apply(pod)
    scene.wait(lambda: _answers(elsewhere, name, plan.public_name or plan.served_name), f"{name} answers", _PATIENCE)
    seconds = time.monotonic() - began
    elsewhere.kubectl("delete", "pod", name, "--grace-period=1", "--wait=true")
    return seconds


def _answers(elsewhere: Cluster, name: str, model: str) -> bool:
    address = elsewhere.api.status("Pod", name).get("podIP")
    return bool(address) and answers(f"http://{address}:{ENGINE_PORT}", model)


def plan_in(template: Manifest) -> ServingPlan:
    """What the operator told the launcher of the engine."""
    [engine] = template["containers"]
    arguments = engine["args"]
    return ServingPlan.model_validate_json(arguments[arguments.index("--plan") + 1])


def flags(plan: ServingPlan, folder: Path) -> list[str]:
    """The engine's command as the launcher has it, without what of ours runs in vLLM's server."""
    _, *command = engine_command(plan, folder, ENGINE_PORT, is_keyed=False)
    own = {at for at, word in enumerate(command) if word == "--middleware"}
    kept = [word for at, word in enumerate(command) if at not in own and at - 1 not in own]
    return ["python", *(word.replace(str(folder), _FOLDER) for word in kept)]


def plain_pod(
    name: str, template: Manifest, command: Sequence[str], environment: dict[str, str], folder: Path
) -> Manifest:
    """A pod like the operator's of one engine, with nothing of ours in it but the image."""
    made: dict[str, Any] = json.loads(json.dumps(template))
    [engine] = made["containers"]
    for ours in ("args", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
        engine.pop(ours, None)
    told = {one["name"]: one["value"] for one in engine["env"] if "value" in one} | environment
    engine["env"] = [{"name": key, "value": value} for key, value in told.items() if not key.startswith(_OURS)]
    engine["command"] = list(command)
    mounts = [mount for mount in engine["volumeMounts"] if mount["mountPath"] != _FOLDER]
    engine["volumeMounts"] = [*mounts, {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}]
    made.pop("initContainers", None)
    made["volumes"].append({"name": _VOLUME, "hostPath": {"path": str(folder), "type": "Directory"}})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": made}
