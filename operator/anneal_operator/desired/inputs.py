"""Where preparation and evaluation find what a FineTuneJob names: ConfigMaps and claims are mounted, the rest fetched.

A plan knows paths only, so that a stage needs no Kubernetes: `configmap://NAME/KEY` becomes a path under
`/inputs/configmap`, `pvc://CLAIM/PATH` one under `/inputs/pvc`; other addresses stay as they are.
"""

from anneal_operator.api.fine_tune_job import FineTuneJobSpec

from .pods import Manifest

__all__ = [
    "claim_source",
    "config_map_source",
    "data_sources",
    "evaluation_sources",
    "input_path",
    "input_volumes",
    "named_sources",
    "needs_hub",
]

_FOLDER = "/inputs"
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


def data_sources(spec: FineTuneJobSpec) -> list[str]:
    """What preparation reads."""
    return [*spec.dataset.all_sources, spec.model.source]


def evaluation_sources(spec: FineTuneJobSpec) -> list[str]:
    """What evaluation reads beside the prepared data."""
    return [suite.cases for suite in spec.evaluation.suites if suite.cases]


def named_sources(spec: FineTuneJobSpec) -> list[str]:
    """Every source that any stage reads."""
    return [*data_sources(spec), *evaluation_sources(spec)]


def needs_hub(spec: FineTuneJobSpec) -> bool:
    """Whether preparation downloads from a hub."""
    return any(source.startswith("hf://") for source in data_sources(spec))


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
