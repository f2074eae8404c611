"""How the weights come into an engine's pod: a container before the engine's brings them, verified, onto a volume.

The engine reads them where it cannot write, and sees no other artifact of the volume.
"""

from dataclasses import dataclass

from anneal_operator.api.model_version import Artifact
from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.serving import Serving
from serving_runtime.plan import WEIGHTS_CONTAINER, weights_folder

from .pods import Manifest, container

__all__ = ["MODEL_FOLDER", "Weights", "weights"]

MODEL_FOLDER = "/model"
"""Where the engine reads them."""
_FOLDER, _VOLUME = "/weights", "weights"
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


def weights(
    artifact: Artifact, serving: Serving, image: str, pull_policy: str, plan: str, port: int
) -> Weights:
    """Return what brings an artifact, as a plan says it, and tells at a port how far that is."""
    arguments = ["-m", "serving_runtime.supervise", "-m", "serving_runtime.weights"]
    arguments += ["--port", str(port), "--folder", _FOLDER, "--plan", plan]
    brings = container(WEIGHTS_CONTAINER, image, pull_policy, arguments, _without_devices(serving.resources))
    cached, folder = serving.cache is not None, weights_folder(artifact.digest)
    brings["volumeMounts"].append({"name": _VOLUME, "mountPath": _FOLDER, **({"subPath": _CACHE} if cached else {})})
    seen = f"{_CACHE}/{folder}" if cached else folder
    mount = {"name": _VOLUME, "mountPath": MODEL_FOLDER, "subPath": seen, "readOnly": True}
    return Weights([{"name": _VOLUME, **_volume(serving)}], mount, [brings])


def _volume(serving: Serving) -> Manifest:
    if serving.cache is None:
        return {"emptyDir": {}}
    return {"persistentVolumeClaim": {"claimName": serving.cache.claim_name}}


def _without_devices(wanted: ResourceRequirements) -> ResourceRequirements:
    """The engine's, so that the pod asks for no more than that does."""
    kept = {
        side: {name: quantity for name, quantity in given.items() if name in {"cpu", "memory"}}
        for side, given in (("requests", wanted.requests), ("limits", wanted.limits))
    }
    return ResourceRequirements(**kept)
