"""Bring the cluster up, take it down, tell how it is.

`up` is idempotent: it starts what does not run, starts anew what another checkout runs with other arguments, and leaves
the rest alone; from then on a supervisor does so. Where it finds that runtime and supervisor of an earlier start are
gone, it first sweeps away what that one left on the machine; data in etcd and images stay.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from toolbox.commands import last_lines
from toolbox.locks import exclusive
from toolbox.polling import poll

from .build import build
from .cgroups import create_cgroup
from .components import (
    COMPONENTS,
    CONTROLLERS,
    KUBE_ROUTER,
    KWOK,
    NODE,
    ON_NODE,
    STORE_AND_API,
    Component,
    healthy,
)
from .configuration import write_configuration
from .errors import Finding, NotReadyError, PreflightError
from .firewall import remove_policy_rules
from .holder import Holder, claim, holder_of
from .kubernetes import (
    advertise_gpus,
    apply,
    dns_answers,
    simulate_nodes,
    simulated_nodes_ready,
    wait_for_rollout,
)
from .layout import Layout
from .loading import import_archives
from .network import create_bridge
from .parts import KUBE_ROUTER as ENFORCER
from .parts import PARTS
from .pki import CLIENTS, write_kubeconfig, write_pki
from .preflight import check_machine, check_ports
from .processes import Process, end, find, forget, recorded, runs_otherwise, start, unrecorded
from .supervisor import SUPERVISOR, end_supervisor, start_supervisor
from .sweep import sweep
from .system_images import image_archives

__all__ = ["Status", "down", "end_changed", "point_etcd_to", "start_components", "status", "up"]

T = TypeVar("T")

_HEALTHY_SECONDS = 90.0
_STARTS = 6  # by then the supervisor has waited for 15 s in all


@dataclass(frozen=True)
class Status:
    """Who holds the cluster, and which components run and are healthy."""

    holder: Holder | None
    components: dict[str, str]


def up(
    layout: Layout,
    *,
    gpus: int = 0,
    simulated_nodes: int = 0,
    network_policies: bool = False,
    take_over: bool = False,
) -> None:
    """Bring up whatever does not run yet, and return when the cluster can take work.

    NetworkPolicies are enforced from now on, or not any more, whatever an earlier start was asked for.

    Raises PreflightError, HeldError, BuildError or NotReadyError; each message says what to do.
    """
    if network_policies and not layout.has_node:
        remedy = "leave out --network-policies, or --control-plane-only"
        raise PreflightError([Finding("without a node there is nothing to enforce NetworkPolicies on", remedy)])
    if findings := check_machine(layout):
        raise PreflightError(findings)
    with _locked(layout):
        claim(layout, take_over=take_over)
        _erase_another_version(layout)
        claim(layout, take_over=take_over)  # erasing took the first one along
        end(unrecorded(layout, COMPONENTS))
        if findings := check_ports(layout):
            raise PreflightError(findings)
        wanted = (*PARTS, ENFORCER) if network_policies else PARTS
        parts = [part for part in wanted if layout.has_node or not part.in_node]
        programs = _step("programs", lambda: build(parts, layout.cache))
        if layout.has_node and not (find(layout, "containerd") or find(layout, SUPERVISOR)):
            _step("sweep of an earlier start", lambda: sweep(layout))
        _prepare(layout, programs)
        if layout.has_node:
            create_cgroup()
            create_bridge()
        simulated = (KWOK,) if simulated_nodes or find(layout, KWOK.name) else ()
        end_changed(layout)
        start_supervisor(layout)
        _step("API server", lambda: start_components(layout, STORE_AND_API))
        _step("controllers", lambda: start_components(layout, (*CONTROLLERS, *simulated)))
        if layout.has_node:
            _bring_up_node(layout, programs, gpus)
            _enforce(layout, network_policies)
        if simulated_nodes:
            _step(f"{simulated_nodes} simulated nodes", lambda: _simulate(layout, simulated_nodes, gpus))


def down(layout: Layout, *, take_over: bool = False) -> None:
    """End every process, undo every change to the machine, delete the cluster's state; images and caches stay.

    Raises HeldError when another checkout holds the cluster and `take_over` is off.
    """
    with _locked(layout):
        claim(layout, take_over=take_over)
        _erase(layout)


def status(layout: Layout) -> Status:
    """Tell how the cluster is."""
    names = [c for c in COMPONENTS.values() if layout.has_node or c not in ON_NODE]
    states = {component.name: _state(layout, component) for component in names}
    return Status(holder_of(layout), states | {SUPERVISOR: "healthy" if find(layout, SUPERVISOR) else "stopped"})


def start_components(layout: Layout, components: Sequence[Component]) -> None:
    """Start those that do not run, and wait until all are healthy; the supervisor starts again what ends.

    Raises NotReadyError with the end of the component's log.
    """
    for component in components:
        start(layout, component.name, component.command(layout))
    for component in components:
        _wait_until_healthy(layout, component)


def end_changed(layout: Layout) -> None:
    """End the components that run with other arguments than this checkout's, and the supervisor, which would go on with
    those; whoever calls this starts them.
    """
    found = {
        name: process
        for name, component in COMPONENTS.items()
        if (process := runs_otherwise(layout, name, component.command(layout)))
    }
    if not found:
        return
    end_supervisor(layout)
    for name in found:
        forget(layout, name)
    print(f"         other arguments: {', '.join(found)}", flush=True)
    end(list(found.values()))


def _wait_until_healthy(layout: Layout, component: Component) -> None:
    """Wait, also for one that ends at first.

    The kubelet does end while containerd, whose socket accepts already, still recovers the pods of an earlier start.
    """
    starts: set[Process] = set()

    def settled() -> bool:
        if process := recorded(layout, component.name):
            starts.add(process)
        return len(starts) > _STARTS or _works(layout, component)

    poll(settled, _HEALTHY_SECONDS)
    if not _works(layout, component):
        raise NotReadyError(_complaint(layout, component, len(starts)))


def _works(layout: Layout, component: Component) -> bool:
    return find(layout, component.name) is not None and healthy(component, layout)


def _complaint(layout: Layout, component: Component, starts: int) -> str:
    what = f"ended {starts - 1} times" if starts > 1 else f"is not healthy after {_HEALTHY_SECONDS:.0f} s"
    log = layout.logs / f"{component.name}.log"
    return f"{component.name} {what}; the end of {log}:\n{last_lines(log, 15)}"


def _state(layout: Layout, component: Component) -> str:
    if find(layout, component.name) is None:
        return "stopped"
    return "healthy" if healthy(component, layout) else "unhealthy"


def _prepare(layout: Layout, programs: dict[str, Path]) -> None:
    for folder in (layout.state, layout.run, layout.store, layout.bin, layout.config):
        folder.mkdir(parents=True, exist_ok=True)
    layout.state.chmod(0o711)
    for name, program in programs.items():
        link = layout.bin / name
        if not link.is_symlink() or link.readlink() != program:  # else somebody may be calling it
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    if not layout.etcd_data.exists():  # also when a folder was deleted that `replay` had pointed it to
        point_etcd_to(layout, layout.state / "etcd-data")
    write_pki(layout)
    for client in CLIENTS:
        write_kubeconfig(layout, client.file)
    write_configuration(layout)


def _bring_up_node(layout: Layout, programs: dict[str, Path], gpus: int) -> None:
    containerd, registry, *kubelet_and_proxy = NODE
    archives = _step("system images", lambda: image_archives(programs, layout.cache))
    _step("container runtime", lambda: start_components(layout, [containerd, registry]))
    _step("loading system images", lambda: import_archives(layout, archives))
    _step("kubelet and kube-proxy", lambda: start_components(layout, kubelet_and_proxy))
    for manifest in ("coredns.yaml", "storage.yaml"):
        apply(layout, manifest)
    _step("node Ready", lambda: layout.kubectl("wait", "node/local", "--for=condition=Ready", "--timeout=90s"))
    if gpus:
        advertise_gpus(layout, gpus)
    wait_for_rollout(layout, "kube-system", "coredns")
    wait_for_rollout(layout, "local-path-storage", "local-path-provisioner")
    if not _step("cluster DNS", lambda: poll(dns_answers, 30.0)):
        raise NotReadyError(
            "the cluster's DNS does not answer at 10.96.0.10; see `kubectl -n kube-system logs deployment/coredns`"
        )


def _enforce(layout: Layout, network_policies: bool) -> None:
    """Start what enforces NetworkPolicies, or end it, and take away what it wrote."""
    if network_policies:
        _step("network policies", lambda: start_components(layout, [KUBE_ROUTER]))
        return
    forget(layout, KUBE_ROUTER.name)
    end(unrecorded(layout, [KUBE_ROUTER.name]))  # the supervisor may just have started it again
    remove_policy_rules()


def _simulate(layout: Layout, count: int, gpus: int) -> None:
    simulate_nodes(layout, count, gpus)
    if not poll(lambda: simulated_nodes_ready(layout) >= count, _HEALTHY_SECONDS):
        raise NotReadyError(f"the simulated nodes are not Ready; see {layout.logs / 'kwok.log'}")


def point_etcd_to(layout: Layout, data: Path) -> None:
    """Have etcd use a data directory from its next start on, making it where it is not there."""
    data.mkdir(mode=0o700, exist_ok=True)
    layout.etcd_data.unlink(missing_ok=True)
    layout.etcd_data.symlink_to(data)


def _erase(layout: Layout) -> None:
    end_supervisor(layout)
    if containerd := find(layout, "containerd"):
        end([containerd])  # its store outlives this; the sweep kills the rest
    sweep(layout)
    shutil.rmtree(layout.store / "registry", ignore_errors=True)
    for entry in layout.state.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _erase_another_version(layout: Layout) -> None:
    """Keys and data of a cluster that ended are only good for the version of this tool that wrote them.

    The caller has claimed the cluster: another checkout's stamp is never overwritten.
    """
    layout.state.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*")):
        if source.suffix in (".py", ".yaml", ".mod", ".sum", ".go"):
            digest.update(source.read_bytes())
    stamp = layout.state / "version"
    if find(layout, "kube-apiserver") is None and stamp.exists() and stamp.read_text() != digest.hexdigest():
        _step("erasing the state of another version", lambda: _erase(layout))
    stamp.write_text(digest.hexdigest())


@contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    with exclusive(layout.state.with_name(f"{layout.state.name}.lock")):
        yield


def _step(name: str, action: Callable[[], T]) -> T:
    started = time.monotonic()
    result = action()
    print(f"{time.monotonic() - started:6.1f} s  {name}", flush=True)
    return result
