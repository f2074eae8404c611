"""Measure the operator at scale, beside JobSet: `python -m benchmarks.control_plane`, as root, on the running cluster.

On 200 nodes that kwok plays, pods run for ever. Each manager runs alone, as a process of this machine, on the same API
server, in turns; a bare Job is what both end in. All times and writes are the API server's own, from its audit log:
from the request that creates an object to the answer that creates its first Job, or binds that Job's pod. JobSet is
built from its Go module, its client limits lifted; its webhooks are off, so that it has less to do than in an
installation.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from local_cluster.kubernetes import kubectl
from local_cluster.layout import Layout
from local_cluster.polling import poll
from local_cluster.simulation import completion, played_nodes

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_JOBSET = "sigs.k8s.io/jobset@v0.8.1"
_LABEL = "anneal-bench/played"
_NODES = 200
_PARALLEL = 16
_NAMESPACE = "anneal-bench"
_AGENT = "anneal-bench"
_SYSTEM = ("kube-", "kwok", "kubectl", _AGENT)
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """What is created, by whom it is reconciled, and what its first Job is called."""

    name: str
    path: str
    make: Callable[[str], Manifest]
    first_job: str
    command: Callable[[Path], list[str]] | None
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Figures:
    """Of one round: latencies in seconds, writes per object by the manager and by all."""

    job: list[float]
    bound: list[float]
    all_bound: float
    manager_writes: float
    writes: float
    cpu: float
    rss: float


def main() -> int:
    """Measure in turns, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    layout = Layout.of_node()
    with tempfile.TemporaryDirectory() as name, played_nodes(layout, Path(name), _LABEL, _NODES, _endless(layout)):
        kinds = _kinds(layout, Path(name))
        for title, count, rate in (
            (f"{options.count} at once", options.count, None),
            ("100 at 5 per second", 100, 5.0),
        ):
            rounds = [{kind.name: _measure(layout, kind, count, rate) for kind in kinds} for _ in range(options.rounds)]
            _print(title, rounds)
    return 0


def _endless(layout: Layout) -> list[Manifest]:
    return [completion(layout, "never", {}, "", 86400.0)]


def _kinds(layout: Layout, folder: Path) -> list[Kind]:
    settings = {
        "NAMESPACE": _NAMESPACE,
        "IDENTITY": "bench",
        "TRAINER_IMAGE": "trainer",
        "SERVER_IMAGE": "server",
        "ROUTER_IMAGE": "router",
        "MLFLOW_URL": "http://127.0.0.1:9",
        "PROGRESS_HOST": "localhost",
    }
    environment = {f"ANNEAL_{name}": value for name, value in settings.items()}
    environment["PYTHONPATH"] = f"{_CHECKOUT / 'operator'}:{_CHECKOUT}"
    jobset = _built_jobset(layout)
    limits = ["--kube-api-qps=5000", "--kube-api-burst=5000", "--metrics-bind-address=127.0.0.1:18443"]
    certificates = folder / "k8s-webhook-server/serving-certs"  # it insists on some, also when nobody calls
    certificates.mkdir(parents=True)
    for kind in ("crt", "key"):
        shutil.copyfile(layout.pki / f"kube-apiserver.{kind}", certificates / f"tls.{kind}")
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
        Kind("Job", "/apis/batch/v1/namespaces/{}/jobs", _job, "{}", None, {}),
        Kind(
            "JobSet",
            "/apis/jobset.x-k8s.io/v1alpha2/namespaces/{}/jobsets",
            _jobset,
            "{}-w-0",
            lambda _: [str(jobset), f"--config={config}", *limits],
            {"TMPDIR": str(folder)},
        ),
        Kind(
            "FineTuneJob",
            "/apis/anneal.dev/v1alpha1/namespaces/{}/finetunejobs",
            _fine_tune_job,
            "{}-prepare",
            lambda _: [sys.executable, "-m", "anneal_operator"],
            environment,
        ),
    ]


def _template() -> Manifest:
    return {
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {_LABEL: "true"},
            "tolerations": [{"key": _LABEL, "operator": "Exists"}],
            "containers": [{"name": "main", "image": "trainer", "resources": {"requests": {"cpu": "100m"}}}],
        }
    }


def _job(name: str) -> Manifest:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": _template()}}


def _jobset(name: str) -> Manifest:
    job = {"completionMode": "Indexed", "completions": 1, "parallelism": 1, "backoffLimit": 6, "template": _template()}
    spec = {
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "successPolicy": {"operator": "All"},
        "startupPolicy": {"startupPolicyOrder": "AnyOrder"},
        "replicatedJobs": [{"name": "w", "replicas": 1, "template": {"spec": job}}],
    }
    return {"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": {"name": name}, "spec": spec}


def _fine_tune_job(name: str) -> Manifest:
    spec = {
        "model": {"source": "configmap://tiny", "initialize": "Random"},
        "dataset": {"source": "configmap://rows/rows.jsonl"},
        "tuning": {"method": "full"},
        "resources": {"cpu": "100m", "memory": "16Mi"},
        "scheduling": {"nodeSelector": {_LABEL: "true"}, "tolerations": [{"key": _LABEL, "operator": "Exists"}]},
        "storage": {"claimName": "shared"},
        "output": {"modelName": "bench"},
    }
    return {"apiVersion": "anneal.dev/v1alpha1", "kind": "FineTuneJob", "metadata": {"name": name}, "spec": spec}


def _scene() -> list[Manifest]:
    """What the jobs of a namespace share: data, model, and a volume."""
    size = {"storage": "1Gi"}
    volume = {
        "capacity": size,
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "",
        "hostPath": {"path": "/tmp/anneal-bench"},  # noqa: S108 - a played node mounts nothing
        "claimRef": {"namespace": _NAMESPACE, "name": "shared"},
    }
    claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": size}, "storageClassName": ""}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        _object("ConfigMap", "rows", data={"rows.jsonl": "{}\n"}),
        _object("ConfigMap", "tiny", data={"config.json": "{}"}),
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "anneal-bench", "labels": {_LABEL: "true"}},
            "spec": volume,
        },
        _object("PersistentVolumeClaim", "shared", spec=claim),
    ]


def _object(kind: str, name: str, **fields: Any) -> Manifest:  # noqa: ANN401 - a manifest's fields
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": _NAMESPACE}, **fields}


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
    kubectl(layout, "apply", "--server-side", "--force-conflicts", "-f", str(_CHECKOUT / "crds"))
    return program


def _go(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["go", *arguments], check=True, capture_output=True, text=True, cwd=cwd).stdout


def _measure(layout: Layout, kind: Kind, count: int, rate: float | None) -> Figures:
    _clean(layout)
    for manifest in _scene():
        kubectl(layout, "apply", "-f", "-", given=json.dumps(manifest))
    began = time.time()
    with _manager(layout, kind) as manager:
        before = _cpu_seconds(manager)
        asyncio.run(_create(layout, kind, count, rate))
        bound = poll(lambda: _bound(layout) == count, 600, every=1.0)
        if not bound:
            raise TimeoutError(f"{kind.name}: {_bound(layout)} of {count} pods are bound")
        time.sleep(2)  # what is written last is written by then
        cpu = _cpu_seconds(manager) - before
        rss = _rss_mib(manager)
    found = _figures(_audit(layout, began), kind, count, cpu, rss)
    print(f"{kind.name}: all bound in {found.all_bound:.1f} s", file=sys.stderr, flush=True)
    return found


def _clean(layout: Layout) -> None:
    """Remove what an earlier round left: the Jobs first, as a namespace waits for pods, and those for their Jobs."""
    if kubectl(layout, "get", "namespace", _NAMESPACE, "--ignore-not-found"):
        jobs = f"/apis/batch/v1/namespaces/{_NAMESPACE}/jobs?propagationPolicy=Background"
        kubectl(layout, "delete", "--raw", jobs)
    kubectl(layout, "delete", "namespace", _NAMESPACE, "--ignore-not-found", "--wait=true", timeout=300)
    kubectl(layout, "delete", "persistentvolume", "anneal-bench", "--ignore-not-found", "--wait=true")


@contextmanager
def _manager(layout: Layout, kind: Kind) -> Iterator[int | None]:
    """Run the kind's manager, and wait until it reconciles."""
    if kind.command is None:
        yield None
        return
    environment = os.environ | {"KUBECONFIG": str(layout.kubeconfig)} | dict(kind.environment)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(kind.command(_CHECKOUT), env=environment, stdout=log, stderr=log)
        try:
            asyncio.run(_create(layout, kind, 1, None, prefix="first"))
            job = kind.first_job.format("first-0")
            made = poll(lambda: job in kubectl(layout, "-n", _NAMESPACE, "get", "jobs", "-o", "name"), 60, every=0.5)
            if not made:
                log.seek(0)
                raise TimeoutError(f"{kind.name}: {log.read()[-2000:].decode(errors='replace')}")
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def _cpu_seconds(process: int | None) -> float:
    """Of a process so far, in user and system mode: proc(5), stat, fields 14 and 15."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(process: int | None) -> float:
    if process is None:
        return 0.0
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _create(layout: Layout, kind: Kind, count: int, rate: float | None, prefix: str = "b") -> None:
    """Create the objects, 16 at a time, or so many per second."""
    slots = asyncio.Semaphore(_PARALLEL)
    url = f"https://{layout.address}:6443" + kind.path.format(_NAMESPACE)
    tls = aiohttp.TCPConnector(ssl=_trust(layout))
    async with aiohttp.ClientSession(connector=tls, headers={"User-Agent": _AGENT}) as session:

        async def create(number: int) -> None:
            async with slots, session.post(url, json=kind.make(f"{prefix}-{number}")) as answer:
                if answer.status >= 300:
                    raise RuntimeError(await answer.text())

        tasks = []
        for number in range(count):
            tasks.append(asyncio.ensure_future(create(number)))
            if rate:
                await asyncio.sleep(1 / rate)
        await asyncio.gather(*tasks)


def _trust(layout: Layout) -> Any:  # noqa: ANN401 - an SSLContext
    import ssl

    made = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    made.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    return made


def _bound(layout: Layout) -> int:
    pods = kubectl(layout, "-n", _NAMESPACE, "get", "pods", "--field-selector=spec.nodeName!=", "-o", "name").split()
    return sum(not name.startswith("pod/first-") for name in pods)


def _audit(layout: Layout, since: float) -> list[Manifest]:
    """What the API server wrote down of the namespace since then, but for the manager's first object."""
    found = []
    for path in sorted(layout.logs.glob("audit*.log"), key=lambda file: file.stat().st_mtime):
        if path.stat().st_mtime < since:
            continue
        with path.open() as file:
            for line in file:
                if f'"namespace":"{_NAMESPACE}"' in line and '"first-' not in line:
                    event = json.loads(line)
                    if _seconds(event["stageTimestamp"]) >= since and event["responseStatus"].get("code", 500) < 300:
                        found.append(event)
    return found


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _figures(events: list[Manifest], kind: Kind, count: int, cpu: float, rss: float) -> Figures:
    plural = kind.path.rpartition("/")[2]
    asked, job, bound = {}, {}, {}
    for event in events:
        reference = event["objectRef"]
        what, name = (reference["resource"], reference.get("subresource")), reference.get("name", "")
        if event["verb"] != "create":
            continue
        if what == (plural, None):
            asked[name] = _seconds(event["requestReceivedTimestamp"])
        if what == ("jobs", None):
            job[name] = _seconds(event["stageTimestamp"])
        if what == ("pods", "binding"):
            bound[name.rpartition("-")[0]] = _seconds(event["stageTimestamp"])
    names = [f"b-{number}" for number in range(count)]
    first = {name: kind.first_job.format(name) for name in names}
    indexed = kind.name == "JobSet"  # the pods of an Indexed Job carry their index
    pods = {pod.removesuffix("-0") if indexed else pod: at for pod, at in bound.items()}
    agents = Counter(event.get("userAgent", "").partition("/")[0] for event in events)
    theirs = sum(number for agent, number in agents.items() if not agent.startswith(_SYSTEM))
    return Figures(
        job=[job[first[name]] - asked[name] for name in names],
        bound=[pods[first[name]] - asked[name] for name in names],
        all_bound=max(bound.values()) - min(asked.values()),
        manager_writes=theirs / count,
        writes=len(events) / count,
        cpu=cpu,
        rss=rss,
    )


def _print(title: str, rounds: list[dict[str, Figures]]) -> None:
    print(f"\n{title}, {len(rounds)} rounds: median (least to greatest)\n")
    heads = ["kind", "Job p50 s", "Job p99 s", "bound p50 s", "bound p99 s", "all bound s", "manager CPU s", "RSS MiB"]
    print("| " + " | ".join([*heads, "manager writes each", "all writes each"]) + " |\n" + "| --- " * 10 + "|")
    for name in rounds[0]:
        each = [figures[name] for figures in rounds]
        columns = [
            [_percentile(one.job, 50) for one in each],
            [_percentile(one.job, 99) for one in each],
            [_percentile(one.bound, 50) for one in each],
            [_percentile(one.bound, 99) for one in each],
            [one.all_bound for one in each],
            [one.cpu for one in each],
            [one.rss for one in each],
            [one.manager_writes for one in each],
            [one.writes for one in each],
        ]
        print(f"| {name} | " + " | ".join(_spread(column) for column in columns) + " |", flush=True)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    sys.exit(main())
