"""Measure the operator at scale: `python -m benchmarks.control_plane`, as root, on the running cluster.

On 200 nodes that kwok plays, pods run for ever. Each manager runs alone, as a process of this machine, on the same API
server, in turns; a bare Job is what both end in. All times and writes are the API server's own, from its audit log:
from the request that creates an object to the answer that creates its first Job, or binds that Job's pod. JobSet is
built from its Go module, its client limits lifted; its webhooks are off, so that it has less to do than in an
installation. Where the cluster's own processes and the manager use the machine up, their processor time is the floor.
`--load` measures the operator alone: a thousand jobs that report, and a start beside 5,000 finished ones.
"""

import argparse
import asyncio
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from local_cluster.layout import Layout
from local_cluster.processes import find, wanted
from local_cluster.simulation import completion, played_nodes
from toolbox.polling import poll

from .audit import Figures, figures, read_audit
from .load import measure_reports, measure_restart, scripted_stages
from .managers import Kind, cpu_seconds, kinds, rss_mib, running
from .objects import LABEL, NAMESPACE, clean, create, scene

__all__ = ["main"]

_NODES = 200


def main() -> int:
    """Measure in turns, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--load", action="store_true", help="the operator alone, under load")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what it made goes with it
    layout = Layout.of_node()
    stages = scripted_stages(layout) if options.load else [completion(layout, "never", {}, "", 86400.0)]
    with tempfile.TemporaryDirectory() as name, played_nodes(layout, Path(name), LABEL, _NODES, stages):
        made = kinds(layout, Path(name))
        try:
            if options.load:
                print(measure_reports(layout, made[-1], options.count))
                print(measure_restart(layout, made[-1], 5 * options.count))
            else:
                _beside_peers(layout, made, options.count, options.rounds)
        finally:
            clean(layout)
    return 0


def _beside_peers(layout: Layout, made: list[Kind], count: int, rounds: int) -> None:
    for title, number, rate in ((f"{count} at once", count, None), ("100 at 5 per second", 100, 5.0)):
        found = [{kind.name: _measure(layout, kind, number, rate) for kind in made} for _ in range(rounds)]
        _print(title, found)


def _measure(layout: Layout, kind: Kind, count: int, rate: float | None) -> Figures:
    scene(layout)
    began = time.time()
    with running(layout, kind) as managers:
        cluster = [process.pid for name in wanted(layout) if (process := find(layout, name))]
        before, cluster_before = cpu_seconds(managers), cpu_seconds(cluster)
        asyncio.run(create(layout, kind.path, [kind.make(f"b-{number}") for number in range(count)], rate))
        bound = poll(lambda: _bound(layout) == count, 600, every=1.0)
        if not bound:
            raise TimeoutError(f"{kind.name}: {_bound(layout)} of {count} pods are bound")
        cluster_cpu = cpu_seconds(cluster) - cluster_before
        time.sleep(2)  # what is written last is written by then
        cpu = cpu_seconds(managers) - before
        rss = rss_mib(managers)
    found = figures(read_audit(layout, began), kind, count, cpu=cpu, cluster_cpu=cluster_cpu, rss=rss)
    print(f"{kind.name}: all bound in {found.all_bound:.1f} s", file=sys.stderr, flush=True)
    return found


def _bound(layout: Layout) -> int:
    pods = layout.kubectl("-n", NAMESPACE, "get", "pods", "--field-selector=spec.nodeName!=", "-o", "name").split()
    return sum(not name.startswith("pod/first-") for name in pods)


def _print(title: str, rounds: list[dict[str, Figures]]) -> None:
    print(f"\n{title}, {len(rounds)} rounds: median (least to greatest)\n")
    heads = [
        "kind",
        "Job p50 s",
        "Job p99 s",
        "bound p50 s",
        "bound p99 s",
        "all bound s",
        "manager CPU s",
        "cluster CPU s",
    ]
    print(
        "| " + " | ".join([*heads, "RSS MiB", "manager writes each", "all writes each"]) + " |\n" + "| --- " * 11 + "|"
    )
    for name in rounds[0]:
        each = [figures[name] for figures in rounds]
        columns = [
            [_percentile(one.job, 50) for one in each],
            [_percentile(one.job, 99) for one in each],
            [_percentile(one.bound, 50) for one in each],
            [_percentile(one.bound, 99) for one in each],
            [one.all_bound for one in each],
            [one.cpu for one in each],
            [one.cluster_cpu for one in each],
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
