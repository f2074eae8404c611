"""Nodes of one's own that a kwok of their own plays: for pods that live by a script.

The 200 simulated nodes of `up` complete a Job's pod at once, and without a word. Here it is said what pods do.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolbox.polling import poll

from .components import kwok_arguments
from .kubernetes import simulated_nodes_ready
from .layout import Layout

__all__ = ["completion", "played_nodes"]

Manifest = dict[str, Any]
_PORT = 11247


@contextmanager
def played_nodes(layout: Layout, folder: Path, label: str, count: int, stages: Sequence[Manifest]) -> Iterator[None]:
    """Have as many nodes, labelled and tainted `label=true`; `stages` are kwok's, beside becoming ready and going.

    They offer a resource of that name, too: what asks for it runs nowhere else.

    Everything that carries the label is removed before and after: nodes, volumes, storage classes.
    """
    files = [folder / f"stage-{number}.json" for number in range(len(stages))]
    for file, stage in zip(files, stages, strict=True):
        file.write_text(json.dumps(stage))
    arguments = kwok_arguments(layout, f"{label}=true", "10.97.0.1/16", _PORT, files)
    _remove(layout, label)
    items = [_node(f"{label.rpartition('/')[2]}-{number}", label) for number in range(count)]
    layout.kubectl("create", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    with (folder / "kwok.log").open("w") as log:
        kwok = subprocess.Popen([layout.bin / "kwok", *arguments], stdout=log, stderr=log)
    try:
        if not poll(lambda: simulated_nodes_ready(layout, label) == count, 90, every=0.5) or kwok.poll() is not None:
            raise TimeoutError(f"the nodes {label} are not played: {(folder / 'kwok.log').read_text()[-1000:]}")
        yield
    finally:
        kwok.terminate()
        kwok.wait(20)
        _remove(layout, label)


def completion(
    layout: Layout,
    name: str,
    labels: Mapping[str, str],
    message: str,
    seconds: float,
    *,
    exit_code: int = 0,
    but_not: Sequence[Manifest] = (),
) -> Manifest:
    """kwok's own way for a Job's pod to complete, for pods with these labels: after a time, and with last words.

    `but_not` are kwok's expressions beside the labels, for pods that another stage is meant for.
    """
    import yaml  # only what plays nodes needs it

    stage: Manifest = yaml.safe_load((layout.bin / "pod-complete.yaml").read_text())
    stage["metadata"]["name"] = name
    stage["spec"]["selector"]["matchLabels"] = dict(labels)
    stage["spec"]["selector"]["matchExpressions"] += but_not
    stage["spec"]["delay"] = {"durationMilliseconds": int(seconds * 1000)}
    template = stage["spec"]["next"]["statusTemplate"]
    ending = f"exitCode: {exit_code}\n{' ' * 6}message: {json.dumps(message)}\n"
    began = "startedAt: {{ $origin.state.running.startedAt"  # kwok's template says that it began when it ended
    template = template.replace("exitCode: 0\n", ending).replace("startedAt: {{ $now", began)
    if exit_code:
        template = template.replace("reason: Completed", "reason: Error").replace("phase: Succeeded", "phase: Failed")
    stage["spec"]["next"]["statusTemplate"] = template
    return stage


def _node(name: str, label: str) -> Manifest:
    room = {
        "cpu": "192",
        "memory": "2048Gi",
        "ephemeral-storage": "1Ti",
        "pods": "500",
        "nvidia.com/gpu": "8",
        label: "1000",
    }
    labels = {label: "true", "kubernetes.io/hostname": name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {label: "true"}},
        "spec": {"taints": [{"key": label, "value": "true", "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room},
    }


def _remove(layout: Layout, label: str) -> None:
    for kind in ("nodes", "persistentvolumes", "storageclasses"):
        layout.kubectl("delete", kind, "-l", label, "--ignore-not-found", "--wait=false")
