"""Measure the router beside others: `python -m benchmarks.router`.

Each system has one core to itself, those who ask it and the engines that it asks share another. The engines are played;
they answer at once, as a real one never does, so what is measured is the router alone. All systems are measured in each
round, in another order each time.

- Requests: wrk, 32 connections, as many as are answered, by 1,000 users; and how many the system answers for a
  second of its processes' time. Where its core was busy for less than 95 %, only the latter says anything.
- Latency: 200 requests per second (LiteLLM: 50, as it does not do 200), each timed from when it was due, less an
  engine's own that is asked directly. The same while one client sends bodies of 8 MB, one after the other.
- Streams: 64 at a time, a chunk every 5 ms, 64 chunks each.
- Memory: resident, of all its processes, after it has answered one chat, and the most of all these loads.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from toolbox.commands import CommandError

from .anneal import anneal_router
from .figures import ANNEAL, BARE, LEAST_LUA, LITELLM, UPSTREAM, VLLM_ROUTER, Figures, goals, table
from .machine import Others, cores, facts
from .open_loop import large_bodies, latencies, percentile
from .peers import litellm, vllm_router
from .processes import Running
from .references import Upstream, least_lua, plain, upstream
from .saturation import saturate
from .streams import stream_chunks

__all__ = ["main"]

_Start = Callable[[Upstream, Path], AbstractContextManager[Running]]
_SYSTEMS: dict[str, tuple[str, _Start]] = {
    "nginx": (BARE, plain),
    "lua": (LEAST_LUA, least_lua),
    "anneal": (ANNEAL, anneal_router),
    "vllm-router": (VLLM_ROUTER, vllm_router),
    "litellm": (LITELLM, litellm),
}
_RATE, _RATE_OF_LITELLM = 200.0, 50.0


def main() -> int:
    """Measure in turns, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.router")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each figure is measured for")
    parser.add_argument("--systems", nargs="+", choices=tuple(_SYSTEMS), default=list(_SYSTEMS))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    try:
        rounds = _measured(options.systems, options.rounds, options.seconds)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{facts()}. {len(rounds)} rounds, {options.seconds:g} s per figure: median (least to greatest).\n")
    print(table(rounds), goals(rounds), sep="\n\n")
    return 0


def _end(*_: object) -> None:
    """Let what was started go with it, undisturbed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def _measured(names: Sequence[str], count: int, seconds: float) -> list[dict[str, Figures]]:
    asking, measured = cores()
    os.sched_setaffinity(0, {asking})
    rounds = []
    with tempfile.TemporaryDirectory() as name, upstream(Path(name) / "engines", asking, measured) as engines:
        for number in range(count):
            others = Others(engines.running)
            turn = [*names[number % len(names) :], *names[: number % len(names)]]
            found = {UPSTREAM: _measure(engines.running, _RATE, seconds, Path(name))}
            for system in turn:
                label, start = _SYSTEMS[system]
                with tempfile.TemporaryDirectory(dir=name) as own, start(engines, Path(own)) as running:
                    found[label] = _measure(running, _rate(label), seconds, Path(name))
                _tell(number, label, found[label])
            rounds.append({label: found[label] for label in (UPSTREAM, *(_SYSTEMS[name][0] for name in names))})
            print(f"round {number + 1}: other processes used {others.cores():.2f} cores", file=sys.stderr, flush=True)
    return rounds


def _rate(label: str) -> float:
    return _RATE_OF_LITELLM if label == LITELLM else _RATE


def _measure(running: Running, rate: float, seconds: float, folder: Path) -> Figures:
    running.settle()
    resting = running.rss_mib()
    alone = latencies(running.port, rate, seconds)
    with large_bodies(running.port) as large:
        beside = latencies(running.port, rate, seconds)
    saturated = saturate(running, seconds, folder)
    return Figures(
        per_cpu_second=saturated.per_cpu_second,
        per_second=saturated.per_second,
        busy=saturated.busy,
        p50=percentile(alone, 50),
        p99=percentile(alone, 99),
        p99_beside_large=percentile(beside, 99),
        large_per_second=large.answered / large.seconds,
        chunks_per_cpu_second=stream_chunks(running.port, seconds, running.cpu_seconds),
        resting_mib=resting,
        peak_mib=running.peak_mib(),
    )


def _tell(number: int, label: str, found: Figures) -> None:
    told = f"{found.per_cpu_second:,.0f} requests per CPU s, p99 {found.p99:.2f} ms"
    print(f"round {number + 1}: {label}: {told}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
