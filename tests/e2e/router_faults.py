"""What may happen to routers, engines and recorder, and to what is around them, while clients ask."""

import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from local_cluster.processes import Process, send
from toolbox.polling import poll

from .served import VERSIONS, Manifest, Served, Traffic

__all__ = ["FAULTS", "Fault"]

_AWAY_SECONDS = 120.0
_FULL_SECONDS = 15.0


@dataclass(frozen=True)
class Fault:
    """It begins and ends within `happen`, which returns when a router lost what it had not handed over yet, if so."""

    happen: Callable[[Served, Traffic], float | None]
    ends_answers: bool = False
    """Whether it ends what is answering: streams break off, where everybody sees it, and short answers fail once."""
    fills_disk: bool = False
    """Whether the recorder keeps sums alone for a while."""


def _kill(processes: Iterable[Process]) -> None:
    for process in processes:
        send(process, signal.SIGKILL)


def _kill_container(served: Served, pod: Manifest, name: str) -> None:
    """End its processes, and wait until the kubelet has started it again."""
    before = _restarts(pod, name)
    _kill(served.processes(pod, name))

    def is_back() -> bool:
        return _restarts(served.cluster.api.object("Pod", pod["metadata"]["name"]), name) > before

    assert poll(is_back, 60, every=0.5)


def _restarts(pod: Manifest, name: str) -> int:
    return sum(told["restartCount"] for told in pod["status"]["containerStatuses"] if told["name"] == name)


def _do_nothing(_: Served, traffic: Traffic) -> None:
    traffic.wait_for(10)


def _roll_routers(served: Served, _: Traffic) -> None:
    before = _names(served.routers())
    served.cluster.kubectl("rollout", "restart", "deployment/anneal-router")
    served.cluster.kubectl("rollout", "status", "deployment/anneal-router", "--timeout=240s")
    assert not before & _names(served.routers())


def _kill_agent(served: Served, _: Traffic) -> None:
    _kill_container(served, served.routers()[0], "agent")


def _kill_shipper(served: Served, _: Traffic) -> None:
    _kill_container(served, served.routers()[0], "shipper")


def _kill_nginx(served: Served, _: Traffic) -> float:
    at = time.time()
    _kill_container(served, served.routers()[0], "nginx")
    return at


def _lose_router(served: Served, _: Traffic) -> float:
    """As its node does: all its processes, with its disk."""
    router = served.routers()[0]
    processes = served.processes(router)
    disk = served.cluster.layout.state / "kubelet/pods" / router["metadata"]["uid"] / "volumes/kubernetes.io~empty-dir"
    at = time.time()
    for process in processes:  # killed ones would be started again until the kubelet hears of the deletion
        send(process, signal.SIGSTOP)
    served.cluster.kubectl("delete", "pod", router["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    _kill(processes)
    shutil.rmtree(disk / "shared/records")
    return at


def _lose_generation(served: Served, _: Traffic) -> None:
    """One router is not told of the newest routes, until the operator takes it out."""
    router = served.routers()[0]
    agent = served.processes(router, "agent")
    for process in agent:
        send(process, signal.SIGSTOP)
    patch = '{"spec": {"aliases": ["candidate"]}}'
    served.cluster.kubectl("patch", "modelversion", VERSIONS[1], "--type=merge", "-p", patch)
    assert poll(lambda: any(router["metadata"]["name"] in told for told in served.unsettled()), 30, every=0.5)
    name = router["metadata"]["name"]
    assert poll(lambda: name not in _names(served.routers()), 150, every=1.0), served.unsettled()
    for process in agent:  # else it outlives its grace period
        send(process, signal.SIGCONT)


def _kill_engine(served: Served, _: Traffic) -> None:
    """One of each version's."""
    for version in VERSIONS:
        _kill_container(served, served.engines(version)[0], "engine")


def _scale_engines(served: Served, traffic: Traffic) -> None:
    for replicas in (3, 1, 2):
        served.change(VERSIONS[1], replicas=replicas)
        served.wait_until_settled()
        assert len(served.engines(VERSIONS[1])) == replicas
        traffic.wait_for(3)


def _roll_engines(served: Served, _: Traffic) -> None:
    before = {version: _names(served.engines(version)) for version in VERSIONS}
    for version in VERSIONS:
        serving = served.cluster.api.object("ModelVersion", version)["spec"]["serving"]
        served.change(version, maxModelLength=4096 if serving.get("maxModelLength") == 1024 else 1024)
    assert poll(
        lambda: not any(before[version] & _names(served.engines(version)) for version in VERSIONS), 180, every=1.0
    )


def _end_api_server(served: Served, traffic: Traffic) -> None:
    served.cluster.tool("stop", "kube-apiserver")
    try:
        traffic.wait_for(_AWAY_SECONDS)
    finally:
        served.cluster.tool("start", "kube-apiserver")


def _kill_recorder(served: Served, traffic: Traffic) -> None:
    """Its process, and once more with its pod."""
    _kill_container(served, served.recorders()[0], "recorder")
    traffic.wait_for(5)
    recorder = served.recorders()[0]
    _kill(served.processes(recorder))
    served.cluster.kubectl("delete", "pod", recorder["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")


def _fill_recorder_s_disk(served: Served, traffic: Traffic) -> None:
    filler = served.volume / "filler"
    try:
        _fill(filler)
        recorder = served.recorders()[0]["metadata"]["name"]
        assert poll(lambda: "cannot be stored now" in served.cluster.api.log(recorder), 60, every=0.5)
        traffic.wait_for(_FULL_SECONDS)
    finally:
        filler.unlink()


def _fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65536)):
                pass
        except OSError:
            return


def _end_mlflow(served: Served, traffic: Traffic) -> None:
    scale = ("scale", "deployment/anneal-mlflow", "-n", served.system)
    served.cluster.kubectl(*scale, "--replicas=0")
    try:
        traffic.wait_for(30)
    finally:
        served.cluster.kubectl(*scale, "--replicas=1")


def _names(pods: Iterable[Manifest]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


FAULTS: dict[str, Fault] = {
    "nothing": Fault(_do_nothing),
    "routers-roll": Fault(_roll_routers),
    "agent-killed": Fault(_kill_agent),
    "shipper-killed": Fault(_kill_shipper),
    "nginx-killed": Fault(_kill_nginx, ends_answers=True),
    "router-lost": Fault(_lose_router, ends_answers=True),
    "generation-lost": Fault(_lose_generation),
    "engine-killed": Fault(_kill_engine, ends_answers=True),
    "engines-scaled": Fault(_scale_engines),
    "engines-roll": Fault(_roll_engines),
    "api-server-away": Fault(_end_api_server),
    "recorder-killed": Fault(_kill_recorder),
    "recorder-disk-full": Fault(_fill_recorder_s_disk, fills_disk=True),
    "mlflow-away": Fault(_end_mlflow),
}
