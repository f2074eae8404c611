"""Where preparation and evaluation find what a FineTuneJob names: ConfigMaps and claims are mounted, the rest fetched.

A plan knows paths only, so that a stage needs no Kubernetes: `configmap://NAME/KEY` becomes a path under
`/inputs/configmap`, `pvc://CLAIM/PATH` one under `/inputs/pvc`; other addresses stay as they are. Each Secret with
credentials is a folder of its own, so that no source is read with those of another.
"""

from pathlib import Path

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.schema import LocalReference
from training_runtime.plan import asks_rows

from .pods import Manifest
from .training_names import own_claim_name

__all__ = [
    "checkpoints_source",
    "claim_source",
    "config_map_source",
    "credentials_folder",
    "credentials_volumes",
    "data_sources",
    "evaluation_sources",
    "input_path",
    "input_volumes",
    "named_sources",
    "needs_hub",
]

_FOLDER = "/inputs"
_CREDENTIALS_FOLDER = "/credentials"
_MOUNTED = ("configmap", "pvc")


def _parts(source: str) -> tuple[str, str, str]:
    """Scheme, name, and what follows the name."""
    scheme, _, rest = source.partition("://")
    name, _, path = rest.partition("/")
    return scheme, name, path


def config_map_source(source: str) -> tuple[str, str] | None:
    """Return the ConfigMap's name and key of `configmap://name[/key]`, or None for any other source."""
    scheme, name, key = _parts(source)
    return (name, key) if scheme == "configmap" else None


def claim_source(source: str) -> str | None:
    """Return the claim's name of `pvc://claim/path`, or None for any other source."""
    scheme, name, _ = _parts(source)
    return name if scheme == "pvc" else None


def input_path(source: str) -> str:
    """Return what a plan calls a source: the path it is mounted at, or its own address."""
    scheme, name, path = _parts(source)
    return "/".join(part for part in (_FOLDER, scheme, name, path) if part) if scheme in _MOUNTED else source


def checkpoints_source(spec: FineTuneJobSpec) -> str | None:
    """Where the checkpoints of the job that this one goes on from are, None where it begins anew."""
    resumed = spec.training.resume_from
    return f"pvc://{own_claim_name(resumed.fine_tune_job_ref.name)}/checkpoints" if resumed else None


def data_sources(spec: FineTuneJobSpec) -> list[str]:
    """What preparation reads: the data, the base, the cases that evaluation asks, the checkpoint to go on from."""
    cases = [suite.cases for suite in spec.evaluation.suites if suite.cases and asks_rows(suite.type)]
    resumed = checkpoints_source(spec)
    return [*(source.uri for source in spec.dataset.sources), spec.base.uri, *cases, *([resumed] if resumed else [])]


def evaluation_sources(spec: FineTuneJobSpec) -> list[str]:
    """What evaluation reads beside what is prepared: the harness's tasks."""
    return [suite.cases for suite in spec.evaluation.suites if suite.cases and not asks_rows(suite.type)]


def named_sources(spec: FineTuneJobSpec) -> list[str]:
    """Every source that any stage reads."""
    return [*data_sources(spec), *evaluation_sources(spec)]


def needs_hub(spec: FineTuneJobSpec) -> bool:
    """Whether preparation downloads from a hub."""
    return any(source.startswith("hf://") for source in data_sources(spec))


def credentials_folder(secret: LocalReference | None) -> Path | None:
    """Where the stages find a Secret, a file for each of its keys."""
    return Path(_CREDENTIALS_FOLDER) / secret.name if secret else None


def credentials_volumes(spec: FineTuneJobSpec) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of the Secrets that preparation reads sources with, and their mounts.

    A Secret that is not there leaves its folder empty: the stage says so, where a pod that cannot mount says nothing.
    """
    references = (spec.base.secret_ref, *(source.secret_ref for source in spec.dataset.sources))
    volumes, mounts = [], []
    for number, name in enumerate(dict.fromkeys(reference.name for reference in references if reference)):
        volume = {"name": f"credentials-{number}"}
        volumes.append({**volume, "secret": {"secretName": name, "optional": True}})
        mounts.append({**volume, "mountPath": f"{_CREDENTIALS_FOLDER}/{name}", "readOnly": True})
    return volumes, mounts


def input_volumes(sources: list[str]) -> tuple[list[Manifest], list[Manifest]]:
    """Return the volumes of these sources, and their mounts; one for each object, however many sources lie on it."""
    volumes, mounts = [], []
    found = dict.fromkeys(_parts(source)[:2] for source in sources)
    for number, (scheme, name) in enumerate(pair for pair in found if pair[0] in _MOUNTED):
        claim = {"persistentVolumeClaim": {"claimName": name, "readOnly": True}}
        volume = claim if scheme == "pvc" else {"configMap": {"name": name}}
        volumes.append({"name": f"input-{number}", **volume})
        mounts.append({"name": f"input-{number}", "mountPath": f"{_FOLDER}/{scheme}/{name}", "readOnly": True})
    return volumes, mounts
