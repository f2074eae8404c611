"""How the weights come into an engine's pod.

A container before the engine's downloads them, verified, onto a volume; a claim, or an image, that has them is mounted
as it is. The engine reads them where it cannot write, and sees no other artifact of the volume.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from anneal_operator.api.artifact import MOUNTED, Artifact
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.quantities import amount
from anneal_operator.api.serving import Serving
from serving_runtime.plan import ANY_ENDPOINT, AUTHORITIES_VARIABLE, PROXY_VARIABLES, WEIGHTS_CONTAINER, weights_folder

from .pods import Manifest, container

__all__ = [
    "MODEL_FOLDER",
    "Authorities",
    "Downloading",
    "Weights",
    "authorities_volumes",
    "downloader",
    "trusting",
    "weights",
    "with_room",
]

MODEL_FOLDER = "/model"
"""Where the engine reads them."""
_FOLDER, _CREDENTIALS = "/weights", "/credentials"
_VOLUME, _SECRET, _AUTHORITIES = "weights", "credentials", "authorities"
_CACHE = "anneal/weights"
"""Where a claim's artifacts lie: whatever else it holds is not ours."""
_DISK = "ephemeral-storage"
_AUTHORITIES_FOLDER = "/etc/anneal-authorities"
_BESIDE_WEIGHTS = 128 << 20
"""Bytes for what a download writes beside them: its journal, the manifest, and the rest of each file's last block."""
_WITH_ENDPOINTS = ("hf://", "s3://")


@dataclass(frozen=True)
class Authorities:
    """Certificate authorities of the installation's own: a ConfigMap that each namespace has, and its key."""

    config_map: str
    key: str


@dataclass(frozen=True)
class Downloading:
    """How an installation has weights downloaded."""

    image: str
    pull_policy: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """What it sets for pods that serve; of it, proxies matter here."""
    authorities: Authorities | None = None
    endpoints: Sequence[str] = ANY_ENDPOINT
    """How the endpoints of hubs and S3 may begin."""


@dataclass(frozen=True)
class Weights:
    """What a pod has for them."""

    volumes: list[Manifest]
    mount: Manifest
    """The engine's."""
    before: list[Manifest]
    """What goes before the engine."""


def weights(artifact: Artifact, serving: Serving, by: Downloading, plan: str, port: int) -> Weights:
    """Return what brings an artifact, as a plan says it, and tells at a port how far that is."""
    scheme, _, rest = artifact.uri.partition("://")
    if scheme == "pvc":
        name, _, path = rest.partition("/")
        return _mounted({"persistentVolumeClaim": {"claimName": name, "readOnly": True}}, path.strip("/"))
    if scheme == "oci":
        return _mounted({"image": {"reference": rest, "pullPolicy": _pull_policy(rest)}}, "")
    volumes, brings = downloader(artifact, serving, by, plan, port, _without_devices(serving.resources))
    own = "/".join(part for part in (_within(serving), weights_folder(artifact.digest)) if part)
    return Weights(volumes, _mount(_VOLUME, MODEL_FOLDER, own, is_read_only=True), [brings])


def with_room(resources: Manifest, artifact: Artifact, serving: Serving) -> Manifest:
    """Return an engine's resources with what its weights take of the node's disk, for as long as the pod lives.

    A limit is for all that the pod writes. Whoever asks for as much as the weights take, or more, meant them, too.
    """
    if not (room := _room_on_node(artifact, serving)):
        return resources
    found = {side: ceil(amount(resources[side][_DISK])) for side in ("requests", "limits") if _DISK in resources[side]}
    found.setdefault("requests", found.get("limits", 0))
    needed = {side: had if had >= room else had + room for side, had in found.items()}
    most = needed.get("limits", needed["requests"])
    asked = needed | {"requests": min(needed["requests"], most)}
    return {**resources, **{side: {**resources[side], _DISK: str(much)} for side, much in asked.items()}}


def trusting(made: Manifest, authorities: Authorities | None) -> Manifest:
    """Return a container that knows the installation's authorities; its pod is to have `authorities_volumes`."""
    if authorities is None:
        return made
    named = {"name": AUTHORITIES_VARIABLE, "value": f"{_AUTHORITIES_FOLDER}/{authorities.key}"}
    mount = _mount(_AUTHORITIES, _AUTHORITIES_FOLDER, "", is_read_only=True)
    return {**made, "env": [*made["env"], named], "volumeMounts": [*made["volumeMounts"], mount]}


def authorities_volumes(authorities: Authorities | None) -> list[Manifest]:
    """Return the volume of a pod whose containers are `trusting`.

    Without that ConfigMap a pod starts: who meets a certificate that it cannot judge says so.
    """
    if authorities is None:
        return []
    items = [{"key": authorities.key, "path": authorities.key}]
    return [{"name": _AUTHORITIES, "configMap": {"name": authorities.config_map, "items": items, "optional": True}}]


def downloader(
    artifact: Artifact, serving: Serving, by: Downloading, plan: str, port: int, resources: ResourceRequirements
) -> tuple[list[Manifest], Manifest]:
    """Return the container that downloads, and its volumes."""
    # The kubelet would make a folder that a mount names as root; what the container makes is its own.
    folder = "/".join(part for part in (_FOLDER, _within(serving)) if part)
    arguments = ["-m", "serving_runtime.weights", "--port", str(port), "--folder", folder, "--plan", plan]
    volumes, mounts = [_kept(artifact, serving)], [_mount(_VOLUME, _FOLDER, "")]
    if room := _room_on_node(artifact, serving):
        arguments += ["--room", str(room)]
    if artifact.uri.startswith(_WITH_ENDPOINTS):
        arguments += ["--endpoints", json.dumps([*by.endpoints])]
    if artifact.secret_ref:
        arguments += ["--credentials", _CREDENTIALS]
        # Without that Secret the folder is empty, and the container says so; a pod that cannot mount says nothing.
        volumes.append({"name": _SECRET, "secret": {"secretName": artifact.secret_ref.name, "optional": True}})
        mounts.append(_mount(_SECRET, _CREDENTIALS, "", is_read_only=True))
    made = container(WEIGHTS_CONTAINER, by.image, by.pull_policy, arguments, resources)
    made["env"] += _proxies(by.variables, serving)
    made["volumeMounts"] += mounts
    return volumes, trusting(made, by.authorities)


def _room_on_node(artifact: Artifact, serving: Serving) -> int:
    """Return how many bytes of its node's disk a pod needs for weights; 0 where it needs none, or nobody knows."""
    if serving.cache or artifact.uri.startswith(MOUNTED) or artifact.bytes is None:
        return 0
    return artifact.bytes + _BESIDE_WEIGHTS


def _within(serving: Serving) -> str:
    return _CACHE if serving.cache else ""


def _proxies(variables: Mapping[str, str], serving: Serving) -> list[Manifest]:
    """What a namespace says of proxies, else what the installation does."""
    asked = [one.dump() for one in serving.pod_template.env if one.name.upper() in PROXY_VARIABLES]
    known = {one["name"].upper() for one in asked}
    given = sorted((name, value) for name, value in variables.items() if name.upper() in PROXY_VARIABLES)
    return [*({"name": name, "value": value} for name, value in given if name.upper() not in known), *asked]


def _pull_policy(image: str) -> str:
    """A tag may have been moved since a node pulled it: the engine takes no other bytes, and would not start."""
    return "IfNotPresent" if "@sha256:" in image else "Always"


def _mounted(volume: Manifest, path: str) -> Weights:
    mount = _mount(_VOLUME, MODEL_FOLDER, path, is_read_only=True)
    return Weights([{"name": _VOLUME, **volume}], mount, [])


def _kept(artifact: Artifact, serving: Serving) -> Manifest:
    if serving.cache:
        return {"name": _VOLUME, "persistentVolumeClaim": {"claimName": serving.cache.claim_name}}
    room = _room_on_node(artifact, serving)
    return {"name": _VOLUME, "emptyDir": {"sizeLimit": str(room)} if room else {}}


def _mount(volume: str, folder: str, path: str, *, is_read_only: bool = False) -> Manifest:
    made: Manifest = {"name": volume, "mountPath": folder}
    return {**made, **({"subPath": path} if path else {}), **({"readOnly": True} if is_read_only else {})}


def _without_devices(wanted: ResourceRequirements) -> ResourceRequirements:
    """The engine's, so that the pod asks for no more than that does."""
    kept = {
        side: {name: quantity for name, quantity in given.items() if name in {"cpu", "memory"}}
        for side, given in (("requests", wanted.requests), ("limits", wanted.limits))
    }
    return ResourceRequirements(**kept)
