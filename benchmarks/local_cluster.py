"""Measure the local cluster and the images against their goals: `make bench`.

Warm figures only: a cold start is a matter of minutes and of the network, and is timed by hand (README.md says
how). Each figure is the median of several rounds, with the least and the greatest beside it.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from local_cluster.layout import CGROUP, Layout
from local_cluster.processes import Process, in_cgroup, marked
from local_cluster.system_images import BUSYBOX
from toolbox.polling import poll

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_CLUSTER = [sys.executable, "-m", "local_cluster"]
_ROUNDS = 5
_CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "bench"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
_CLAIMANT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "claimant"},
    "spec": {
        "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["true"]}],
        "restartPolicy": "Never",
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "bench"}}],
    },
}


def main() -> int:
    """Measure everything, print a table, and leave the cluster up."""
    layout = Layout.of_node()
    rows = [
        _row(
            "`up`, warm: node Ready, DNS answers, a test pod's claim is bound",
            "40 s",
            _times(lambda: _up(layout), _down),
        ),
        _row("`up` of a running cluster", "", _times(_plain_up)),
        _row("`down`", "", _times(_down, lambda: _up(layout))),
        _row(
            "a pod from apply to Running, image present",
            "5 s",
            _times(lambda: _run_pod(layout), lambda: _prepare(layout)),
        ),
        _row("idle memory of the whole cluster (PSS), 30 s after its start", "1.2 GiB", [_idle_gib(layout)], "GiB"),
        _row("operator image", "420 MB", [_image_megabytes()], "MB"),
        _row("operator image after a code change, built and loaded", "20 s", _times(_rebuild)),
    ]
    print("| what | goal | median | least | greatest |\n| --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    return 0


def _row(what: str, goal: str, figures: list[float], unit: str = "s") -> str:
    values = (statistics.median(figures), min(figures), max(figures))
    return f"| {what} | {f'<= {goal}' if goal else ''} | " + " | ".join(f"{v:.2f} {unit}" for v in values) + " |"


def _times(action: Callable[[], None], before: Callable[[], None] | None = None) -> list[float]:
    times = []
    for _ in range(_ROUNDS):
        if before:
            before()
        times.append(_time(action))
    return times


def _time(action: Callable[[], None]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def _down() -> None:
    subprocess.run([*_CLUSTER, "down"], check=True, cwd=_CHECKOUT, capture_output=True)


def _plain_up() -> None:
    subprocess.run([*_CLUSTER, "up"], check=True, cwd=_CHECKOUT, capture_output=True)


def _up(layout: Layout) -> None:
    """Without simulated nodes: the node by itself."""
    _plain_up()
    layout.kubectl.apply({"apiVersion": "v1", "kind": "List", "items": [_CLAIM, _CLAIMANT]})
    layout.kubectl("wait", "pvc/bench", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")


def _run_pod(layout: Layout) -> None:
    layout.kubectl("run", "bench", f"--image={BUSYBOX}", "--restart=Never", "--", "sleep", "600")
    layout.kubectl("wait", "pod/bench", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")


def _prepare(layout: Layout) -> None:
    _plain_up()
    layout.kubectl("delete", "pod", "bench", "--ignore-not-found", "--now")


def _idle_gib(layout: Layout) -> float:
    _down()
    _plain_up()
    quiet_after = time.monotonic() + 30
    poll(lambda: time.monotonic() > quiet_after, 60)
    processes = {*marked(layout), *in_cgroup(CGROUP)}
    return sum(_pss_kib(process) for process in processes) / 1024**2


def _pss_kib(process: Process) -> int:
    """Proportional set size: a page that several processes share is counted once (proc_pid_smaps_rollup)."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def _image_megabytes() -> float:
    inspected = _images("build", "operator").strip().splitlines()[-1]
    listed = subprocess.run(["buildah", "images", "--json", inspected], check=True, capture_output=True, text=True)
    size = str(json.loads(listed.stdout)[0]["size"])
    number, unit = size.split()
    return float(number) * {"MB": 1, "GB": 1000}[unit]


def _rebuild() -> None:
    """Change one line of the operator's code, build and load it, and change it back."""
    module = _CHECKOUT / "operator/anneal_operator/__init__.py"
    original = module.read_bytes()
    with tempfile.NamedTemporaryFile() as unique:
        module.write_bytes(original + f"\n# {unique.name}\n".encode())
    try:
        _images("build", "operator", "--load")
    finally:
        module.write_bytes(original)


def _images(*arguments: str) -> str:
    command = [sys.executable, "-m", "images", *arguments]
    return subprocess.run(command, check=True, cwd=_CHECKOUT, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
