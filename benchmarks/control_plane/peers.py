"""The peers' managers, each built once from its Go module with that module's own pins, and their definitions."""

import json
import os
import subprocess
from pathlib import Path

from local_cluster.layout import Layout

from .objects import training_runtime

__all__ = ["built_jobset", "built_trainer"]

_JOBSET = "sigs.k8s.io/jobset@v0.11.0"
_TRAINER = "github.com/kubeflow/trainer/v2@v2.3.0"


def built_jobset(layout: Layout) -> Path:
    """Return JobSet's manager."""
    source = _source(_JOBSET)
    crds = source / "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"
    layout.kubectl("apply", "--server-side", "-f", str(crds))
    return _built(_JOBSET, source, ".")


def built_trainer(layout: Layout) -> Path:
    """Return Trainer's manager, with a runtime for its TrainJobs installed; the JobSets that it makes are JobSet's."""
    source = _source(_TRAINER)
    layout.kubectl("apply", "--server-side", "-k", str(source / "manifests/base/crds"))
    layout.kubectl("wait", "--for=condition=Established", "crd/clustertrainingruntimes.trainer.kubeflow.org")
    layout.kubectl("apply", "-f", "-", given=json.dumps(training_runtime()))
    return _built(_TRAINER, source, "./cmd/trainer-controller-manager")


def _source(module: str) -> Path:
    return Path(json.loads(_go("mod", "download", "-json", module, cwd=Path("/")))["Dir"])


def _built(module: str, source: Path, package: str) -> Path:
    """Build a package of a module, unless that was done before."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "anneal/peers"
    program = cache / module.replace("/", "-")
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _go("build", "-o", str(program), package, cwd=source)
    return program


def _go(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["go", *arguments], check=True, capture_output=True, text=True, cwd=cwd).stdout
