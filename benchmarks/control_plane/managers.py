"""The managers: ours and JobSet's, each a process of this machine while it is measured."""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.operator_process import OPERATOR, operator_environment
from local_cluster.kubernetes import kubectl
from local_cluster.layout import Layout
from local_cluster.polling import poll

from .objects import NAMESPACE, Manifest, bare_job, create, fine_tune_job, job_set

__all__ = ["FINE_TUNE_JOBS", "Kind", "cpu_seconds", "has_job", "kinds", "rss_mib", "running", "started"]

FINE_TUNE_JOBS = f"/apis/anneal.dev/v1alpha1/namespaces/{NAMESPACE}/finetunejobs"
_CHECKOUT = Path(__file__).resolve().parents[2]
_JOBSET = "sigs.k8s.io/jobset@v0.8.1"


@dataclass(frozen=True)
class Kind:
    """What is created, who reconciles it, and what its first Job is called."""

    name: str
    path: str
    make: Callable[[str], Manifest]
    first_job: str
    command: list[str] | None
    environment: Mapping[str, str]


def kinds(layout: Layout, folder: Path) -> list[Kind]:
    """A bare Job, a JobSet and a FineTuneJob; definitions are installed, and JobSet is built where it is not yet."""
    kubectl(layout, "apply", "--server-side", "--force-conflicts", "-f", str(_CHECKOUT / "crds"))
    jobset = _built_jobset(layout)
    limits = ["--kube-api-qps=5000", "--kube-api-burst=5000", "--metrics-bind-address=127.0.0.1:18443"]
    certificates = folder / "k8s-webhook-server/serving-certs"  # it insists on some, also when nobody calls
    certificates.mkdir(parents=True)
    for ending in ("crt", "key"):
        shutil.copyfile(layout.pki / f"kube-apiserver.{ending}", certificates / f"tls.{ending}")
    config = folder / "jobset.yaml"
    config.write_text(
        json.dumps(
            {
                "apiVersion": "config.jobset.x-k8s.io/v1alpha1",
                "kind": "Configuration",
                "leaderElection": {"leaderElect": False},
                "internalCertManagement": {"enable": False},
            }
        )
    )
    return [
        Kind("Job", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", bare_job, "{}", None, {}),
        Kind(
            "JobSet",
            f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{NAMESPACE}/jobsets",
            job_set,
            "{}-w-0",
            [str(jobset), f"--config={config}", *limits],
            {"TMPDIR": str(folder)},
        ),
        Kind(
            "FineTuneJob",
            FINE_TUNE_JOBS,
            fine_tune_job,
            "{}-prepare",
            OPERATOR,
            operator_environment(NAMESPACE),
        ),
    ]


@contextmanager
def running(layout: Layout, kind: Kind) -> Iterator[int | None]:
    """Run the kind's manager; give its process id once it has made its first Job, that of `first-0`."""
    if kind.command is None:
        yield None
        return
    with started(layout, kind) as (process, log):
        asyncio.run(create(layout, kind.path, [kind.make("first-0")]))
        if not poll(lambda: has_job(layout, kind.first_job.format("first-0")), 60, every=0.5):
            raise TimeoutError(f"{kind.name}: {log.read_text()[-2000:]}")
        yield process


@contextmanager
def started(layout: Layout, kind: Kind) -> Iterator[tuple[int, Path]]:
    """Start the kind's manager; give its process id and its log."""
    environment = os.environ | {"KUBECONFIG": str(layout.kubeconfig)} | dict(kind.environment)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as file:
            process = subprocess.Popen(kind.command or [], env=environment, stdout=file, stderr=file)
        try:
            yield process.pid, log
        finally:
            process.terminate()
            process.wait(30)


def has_job(layout: Layout, name: str) -> bool:
    """Whether a Job of this name is there."""
    return name in kubectl(layout, "-n", NAMESPACE, "get", "jobs", "-o", "name")


def cpu_seconds(process: int | None) -> float:
    """Of a process so far, in user and system mode: proc(5), stat, fields 14 and 15."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(process: int | None) -> float:
    """Its resident memory now."""
    if process is None:
        return 0.0
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _built_jobset(layout: Layout) -> Path:
    """Build the peer once, with its module's own pins, and install its definition."""
    module = json.loads(_go("mod", "download", "-json", _JOBSET, cwd=Path("/")))
    source = Path(module["Dir"])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "anneal/peers"
    program = cache / _JOBSET.replace("/", "-")
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "source"
            shutil.copytree(source, copy, copy_function=shutil.copyfile)
            for path in copy.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)
            _go("build", "-o", str(program), ".", cwd=copy)
    crds = source / "config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml"
    kubectl(layout, "apply", "--server-side", "-f", str(crds))
    return program


def _go(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["go", *arguments], check=True, capture_output=True, text=True, cwd=cwd).stdout
