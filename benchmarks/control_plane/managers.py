"""The managers: ours and the peers', each a process of this machine while it is measured."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.operator_process import OPERATOR, operator_environment
from local_cluster.layout import Layout
from toolbox.polling import poll

from .objects import NAMESPACE, Manifest, bare_job, create, fine_tune_job, job_set, train_job
from .peers import built_jobset, built_trainer

__all__ = ["FINE_TUNE_JOBS", "Kind", "cpu_seconds", "has_job", "kinds", "rss_mib", "running", "started"]

FINE_TUNE_JOBS = f"/apis/anneal.dev/v1alpha1/namespaces/{NAMESPACE}/finetunejobs"
_CHECKOUT = Path(__file__).resolve().parents[2]
_LIMITS = {"qps": 5000, "burst": 5000}


@dataclass(frozen=True)
class Kind:
    """What is created, who reconciles it, and what its first Job is called."""

    name: str
    path: str
    make: Callable[[str], Manifest]
    first_job: str
    commands: Sequence[Sequence[str]]
    """Of the managers that bring it about together."""
    environment: Mapping[str, str]
    is_indexed: bool = False
    """Whether the pods of its Jobs carry their index in their names."""


def kinds(layout: Layout, folder: Path) -> list[Kind]:
    """A bare Job, a JobSet, a TrainJob and a FineTuneJob, with their definitions installed."""
    layout.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(_CHECKOUT / "crds"))
    certificates = folder / "k8s-webhook-server/serving-certs"  # both peers insist on some, also when nobody calls
    certificates.mkdir(parents=True)
    for ending in ("crt", "key"):
        shutil.copyfile(layout.pki / f"kube-apiserver.{ending}", certificates / f"tls.{ending}")
    jobset, trainer = _jobset(layout, folder), _trainer(layout, folder)
    certified, group = {"TMPDIR": str(folder)}, f"namespaces/{NAMESPACE}"
    return [
        Kind("Job", f"/apis/batch/v1/{group}/jobs", bare_job, "{}", [], {}),
        Kind("JobSet", f"/apis/jobset.x-k8s.io/v1alpha2/{group}/jobsets", job_set, "{}-w-0", [jobset], certified, True),
        Kind(
            "TrainJob",
            f"/apis/trainer.kubeflow.org/v1alpha1/{group}/trainjobs",
            train_job,
            "{}-node-0",
            [jobset, trainer],
            certified,
            True,
        ),
        Kind(
            "FineTuneJob",
            FINE_TUNE_JOBS,
            fine_tune_job,
            "{}-prepare",
            [OPERATOR],
            operator_environment(NAMESPACE),
        ),
    ]


def _jobset(layout: Layout, folder: Path) -> list[str]:
    """JobSet's manager, alone, with its client limits lifted."""
    settings = {
        "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "clientConnection": _LIMITS,
        "metrics": {"bindAddress": "127.0.0.1:18443"},
    }
    return [str(built_jobset(layout)), _config(folder / "jobset.yaml", settings)]


def _trainer(layout: Layout, folder: Path) -> list[str]:
    """Trainer's manager likewise, on other ports than JobSet's."""
    settings = {
        "apiVersion": "config.trainer.kubeflow.org/v1alpha1",
        "kind": "Configuration",
        "certManagement": {"enable": False},
        "clientConnection": _LIMITS,
        "health": {"healthProbeBindAddress": "127.0.0.1:18081"},
        "metrics": {"bindAddress": "127.0.0.1:18444"},
        "webhook": {"port": 19443},
    }
    return [str(built_trainer(layout)), _config(folder / "trainer.yaml", settings)]


def _config(file: Path, settings: Manifest) -> str:
    file.write_text(json.dumps(settings))
    return f"--config={file}"


@contextmanager
def running(layout: Layout, kind: Kind) -> Iterator[list[int]]:
    """Run the kind's managers; give their process ids once they have made their first Job, that of `first-0`."""
    if not kind.commands:
        yield []
        return
    with started(layout, kind) as (processes, log):
        asyncio.run(create(layout, kind.path, [kind.make("first-0")]))
        if not poll(lambda: has_job(layout, kind.first_job.format("first-0")), 60, every=0.5):
            raise TimeoutError(f"{kind.name}: {log.read_text()[-2000:]}")
        yield processes


@contextmanager
def started(layout: Layout, kind: Kind) -> Iterator[tuple[list[int], Path]]:
    """Start the kind's managers; give their process ids and the log that they share."""
    environment = os.environ | {"KUBECONFIG": str(layout.kubeconfig)} | dict(kind.environment)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("a") as file:
            processes = [subprocess.Popen(one, env=environment, stdout=file, stderr=file) for one in kind.commands]
        try:
            yield [process.pid for process in processes], log
        finally:
            for process in processes:
                process.terminate()
                process.wait(30)


def has_job(layout: Layout, name: str) -> bool:
    """Whether a Job of this name is there."""
    return name in layout.kubectl("-n", NAMESPACE, "get", "jobs", "-o", "name")


def cpu_seconds(processes: Sequence[int]) -> float:
    """Of the processes so far, in user and system mode: proc(5), stat, fields 14 and 15."""
    stats = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in processes]
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


def rss_mib(processes: Sequence[int]) -> float:
    """Their resident memory now."""
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
