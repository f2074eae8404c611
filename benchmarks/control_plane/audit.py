"""Times and writes, as the API server wrote them down in its audit log."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from local_cluster.layout import Layout

from .managers import Kind
from .objects import AGENT, NAMESPACE, Manifest

__all__ = ["Figures", "figures", "manager_writes", "read_audit"]

_SYSTEM = ("kube-", "kwok", "kubectl", AGENT)


@dataclass(frozen=True)
class Figures:
    """Of one round: latencies in seconds, writes per object by the manager and by all, processor time of both."""

    job: list[float]
    bound: list[float]
    all_bound: float
    manager_writes: float
    writes: float
    cpu: float
    cluster_cpu: float
    rss: float


def read_audit(layout: Layout, since: float) -> list[Manifest]:
    """What the API server wrote down of the namespace since then, but for the manager's first object."""
    found = []
    for path in sorted(layout.logs.glob("audit*.log"), key=lambda file: file.stat().st_mtime):
        if path.stat().st_mtime < since:
            continue
        with path.open() as file:
            for line in file:
                if f'"namespace":"{NAMESPACE}"' in line and '"first-' not in line:
                    event = json.loads(line)
                    if _seconds(event["stageTimestamp"]) >= since and event["responseStatus"].get("code", 500) < 300:
                        found.append(event)
    return found


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def figures(events: list[Manifest], kind: Kind, count: int, *, cpu: float, cluster_cpu: float, rss: float) -> Figures:
    """Work out a round's figures of the objects b-0 to b-COUNT."""
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
    pods = {pod.removesuffix("-0") if kind.is_indexed else pod: at for pod, at in bound.items()}
    return Figures(
        job=[job[first[name]] - asked[name] for name in names],
        bound=[pods[first[name]] - asked[name] for name in names],
        all_bound=max(bound.values()) - min(asked.values()),
        manager_writes=manager_writes(events) / count,
        writes=len(events) / count,
        cpu=cpu,
        cluster_cpu=cluster_cpu,
        rss=rss,
    )


def manager_writes(events: Sequence[Manifest]) -> int:
    """Count the writes that neither Kubernetes nor this benchmark made."""
    agents = Counter(event.get("userAgent", "").partition("/")[0] for event in events)
    return sum(number for agent, number in agents.items() if not agent.startswith(_SYSTEM))
