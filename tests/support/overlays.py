"""An example's manifest as kustomize builds it, as far as our overlays go: patches are merged into the job."""

from pathlib import Path
from typing import Any

import yaml

__all__ = ["job_of"]


def job_of(folder: Path) -> dict[str, Any]:
    """Return the FineTuneJob that a folder's overlay comes to."""
    job: dict[str, Any] = yaml.safe_load((folder / "job.yaml").read_text(encoding="utf-8"))
    for other in yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]:
        if (folder / other / "job.yaml").exists():
            job = _patched(yaml.safe_load((folder / other / "job.yaml").read_text(encoding="utf-8")), job)
    return job


def _patched(base: Any, patch: Any) -> Any:
    """Objects are merged, lists replaced; null takes a field away."""
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return patch
    patch = dict(patch)
    kept = {} if patch.pop("$patch", "") == "replace" else base
    merged = {**kept, **{name: _patched(kept.get(name, {}), value) for name, value in patch.items()}}
    return {name: value for name, value in merged.items() if value is not None}
