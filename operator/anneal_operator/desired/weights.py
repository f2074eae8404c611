"""How the weights come into an engine's pod.

A container before the engine's downloads them, verified, onto a volume; a claim, or an image, that has them is mounted
as it is. The engine reads them where it cannot write, and sees no other artifact of the volume.
"""

from dataclasses import dataclass

from anneal_operator.api.model_version import Artifact
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.serving import Cache, Serving
from serving_runtime.plan import WEIGHTS_CONTAINER, weights_folder

from .pods import Manifest, container

__all__ = ["MODEL_FOLDER", "Weights", "weights"]

MODEL_FOLDER = "/model"
"""Where the engine reads them."""
_FOLDER, _CREDENTIALS = "/weights", "/credentials"
_VOLUME, _SECRET = "weights", "credentials"
_CACHE = "anneal/weights"
"""Where a claim's artifacts lie: whatever else it holds is not ours."""


@dataclass(frozen=True)
class Weights:
    """What a pod has for them."""

    volumes: list[Manifest]
    mount: Manifest
    """The engine's."""
    before: list[Manifest]
    """What goes before the engine."""


def weights(artifact: Artifact, serving: Serving, image: str, pull_policy: str, plan: str, port: int) -> Weights:
    """Return what brings an artifact, as a plan says it, and tells at a port how far that is."""
    scheme, _, rest = artifact.uri.partition("://")
    if scheme == "pvc":
        name, _, path = rest.partition("/")
        return _mounted({"persistentVolumeClaim": {"claimName": name, "readOnly": True}}, path.strip("/"))
    if scheme == "oci":
        return _mounted({"image": {"reference": rest, "pullPolicy": _pull_policy(rest)}}, "")
    within = _CACHE if serving.cache else ""
    # The kubelet would make a folder that a mount names as root; what the container makes is its own.
    folder = "/".join(part for part in (_FOLDER, within) if part)
    arguments = ["-m", "serving_runtime.weights", "--port", str(port), "--folder", folder, "--plan", plan]
    volumes, mounts = [_kept(serving.cache)], [_mount(_VOLUME, _FOLDER, "")]
    if artifact.secret_ref:
        arguments += ["--credentials", _CREDENTIALS]
        # Without that Secret the folder is empty, and the container says so; a pod that cannot mount says nothing.
        volumes.append({"name": _SECRET, "secret": {"secretName": artifact.secret_ref.name, "optional": True}})
        mounts.append(_mount(_SECRET, _CREDENTIALS, "", is_read_only=True))
    brings = container(WEIGHTS_CONTAINER, image, pull_policy, arguments, _without_devices(serving.resources))
    brings["volumeMounts"] += mounts
    own = "/".join(part for part in (within, weights_folder(artifact.digest)) if part)
    return Weights(volumes, _mount(_VOLUME, MODEL_FOLDER, own, is_read_only=True), [brings])


def _pull_policy(image: str) -> str:
    """A tag may have been moved since a node pulled it: the engine takes no other bytes, and would not start."""
    return "IfNotPresent" if "@sha256:" in image else "Always"


def _mounted(volume: Manifest, path: str) -> Weights:
    mount = _mount(_VOLUME, MODEL_FOLDER, path, is_read_only=True)
    return Weights([{"name": _VOLUME, **volume}], mount, [])


def _kept(cache: Cache | None) -> Manifest:
    volume = {"persistentVolumeClaim": {"claimName": cache.claim_name}} if cache else {"emptyDir": {}}
    return {"name": _VOLUME, **volume}


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
