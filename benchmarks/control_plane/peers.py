"""The peers' managers, each built once from its Go module with that module's own pins, and their definitions."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_cluster.layout import Layout

from .objects import training_runtime

__all__ = ["built_jobset", "built_trainer"]

_JOBSET = "sigs.k8s.io/jobset@v0.8.1"
_TRAINER = "github.com/kubeflow/trainer/v2@v2.0.0"
_TRAINER_MAIN = "cmd/trainer-controller-manager"
# It has no flag for its client's limits, and waits for certificates that only its own Service and Secret would bring.
_TRAINER_EDITS = (
    ('\t"github.com/kubeflow/trainer/v2/pkg/util/cert"\n', ""),
    (
        "\tmgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ",
        "\tc := ctrl.GetConfigOrDie()\n\tc.QPS, c.Burst = 5000, 5000\n\tmgr, err := ctrl.NewManager(c, ",
    ),
    ("\tif err = cert.ManageCerts(mgr, cert.Config{", "\tclose(certsReady)\n\t/*"),
    ("\tctx := ctrl.SetupSignalHandler()", "\t*/\n\tctx := ctrl.SetupSignalHandler()"),
)


def built_jobset(layout: Layout) -> Path:
    """Return JobSet's manager."""
    source = _source(_JOBSET)
    crds = source / "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"
    layout.kubectl("apply", "--server-side", "-f", str(crds))
    return _built(_JOBSET, source, ".", {})


def built_trainer(layout: Layout) -> Path:
    """Return Trainer's manager, with a runtime for its TrainJobs installed; the JobSets that it makes are JobSet's."""
    source = _source(_TRAINER)
    layout.kubectl("apply", "--server-side", "-k", str(source / "manifests/base/crds"))
    layout.kubectl("wait", "--for=condition=Established", "crd/clustertrainingruntimes.trainer.kubeflow.org")
    layout.kubectl("apply", "-f", "-", given=json.dumps(training_runtime()))
    return _built(_TRAINER, source, f"./{_TRAINER_MAIN}", {f"{_TRAINER_MAIN}/main.go": _TRAINER_EDITS})


def _source(module: str) -> Path:
    return Path(json.loads(_go("mod", "download", "-json", module, cwd=Path("/")))["Dir"])


def _built(module: str, source: Path, package: str, edits: Mapping[str, Sequence[tuple[str, str]]]) -> Path:
    """Build a package of a module, unless that was done before; raise ValueError where there is nothing to edit."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "anneal/peers"
    program = cache / f"{module.replace('/', '-')}-{hashlib.sha256(repr(edits).encode()).hexdigest()[:8]}"
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "source"
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        for path in copy.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        for name, changes in edits.items():
            _edit(copy / name, changes)
        _go("build", "-o", str(program), package, cwd=copy)
    return program


def _edit(file: Path, changes: Sequence[tuple[str, str]]) -> None:
    text = file.read_text()
    for old, new in changes:
        if text.count(old) != 1:
            raise ValueError(f"{file.name} has {text.count(old)} times {old!r}")
        text = text.replace(old, new)
    file.write_text(text)


def _go(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["go", *arguments], check=True, capture_output=True, text=True, cwd=cwd).stdout
