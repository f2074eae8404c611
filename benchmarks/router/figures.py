"""What was found in each round, and the tables of it."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["ANNEAL", "BARE", "LEAST_LUA", "LITELLM", "UPSTREAM", "VLLM_ROUTER", "Figures", "goals", "table"]

UPSTREAM, BARE, LEAST_LUA = "engines, asked directly", "bare nginx", "nginx + least Lua"
ANNEAL, VLLM_ROUTER, LITELLM = "Anneal's router", "vllm-router", "LiteLLM"


@dataclass(frozen=True)
class Figures:
    """Of one system in one round; times in milliseconds."""

    per_cpu_second: float
    per_second: float
    busy: float
    p50: float
    p99: float
    p99_beside_large: float
    large_per_second: float
    chunks_per_cpu_second: float
    resting_mib: float
    peak_mib: float


Round = Mapping[str, Figures]
_Read = Callable[[Round, str], float]


def _own(name: str) -> _Read:
    return lambda found, system: float(getattr(found[system], name))


def _added(name: str, of_upstream: str) -> _Read:
    """By how much it is later than an engine that is asked directly, and has nothing else to do."""
    return lambda found, system: float(getattr(found[system], name)) - float(getattr(found[UPSTREAM], of_upstream))


_PER_CPU, _CHUNKS, _RESTING = _own("per_cpu_second"), _own("chunks_per_cpu_second"), _own("resting_mib")
_P50, _P99, _P99_BESIDE_LARGE = _added("p50", "p50"), _added("p99", "p99"), _added("p99_beside_large", "p99")
_COLUMNS: Mapping[str, _Read] = {
    "requests per CPU s": _PER_CPU,
    "requests/s": _own("per_second"),
    "core busy": _own("busy"),
    "added p50 ms": _P50,
    "added p99 ms": _P99,
    "the same beside 8 MB bodies": _P99_BESIDE_LARGE,
    "8 MB bodies/s": _own("large_per_second"),
    "SSE chunks per CPU s": _CHUNKS,
    "at rest MiB": _RESTING,
    "at most MiB": _own("peak_mib"),
}
_OF_UPSTREAM_ITSELF: Mapping[str, _Read] = {
    "added p50 ms": _own("p50"),
    "added p99 ms": _own("p99"),
    "the same beside 8 MB bodies": _own("p99_beside_large"),
}


@dataclass(frozen=True)
class _Goal:
    what: str
    bound: str
    read: _Read
    beside: str | None
    """What it is a ratio to."""


_GOALS = (
    _Goal("requests per CPU s", ">= 0.75", _PER_CPU, LEAST_LUA),
    _Goal("requests per CPU s", ">= 1.6", _PER_CPU, VLLM_ROUTER),
    _Goal("requests per CPU s", ">= 200", _PER_CPU, LITELLM),
    _Goal("added p50", "<= 1.3", _P50, LEAST_LUA),
    _Goal("added p99", "<= 1.5", _P99, LEAST_LUA),
    _Goal("added p99 beside 8 MB bodies", "<= 3", _P99_BESIDE_LARGE, LEAST_LUA),
    _Goal("SSE chunks per CPU s", ">= 0.95", _CHUNKS, LEAST_LUA),
    _Goal("nginx and agent at rest, MiB", "<= 100", _RESTING, None),
)


def table(rounds: Sequence[Round]) -> str:
    """Return a row per system: medians, the least and the greatest round in brackets."""
    lines = ["| system | " + " | ".join(_COLUMNS) + " |", "| --- " * (len(_COLUMNS) + 1) + "|"]
    for system in rounds[0]:
        columns = {**_COLUMNS, **(_OF_UPSTREAM_ITSELF if system == UPSTREAM else {})}
        cells = [_spread([read(found, system) for found in rounds]) for read in columns.values()]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goals(rounds: Sequence[Round]) -> str:
    """Return a row per goal whose systems were measured: the medians of the rounds' own ratios."""
    lines = ["| Anneal's router | goal | found |", "| --- | --- | --- |"]
    for goal in _GOALS:
        if ANNEAL in rounds[0] and (goal.beside is None or goal.beside in rounds[0]):
            what = goal.what if goal.beside is None else f"{goal.what} / {goal.beside}"
            lines.append(f"| {what} | {goal.bound} | {_found(goal, rounds)} |")
    return "\n".join(lines)


def _found(goal: _Goal, rounds: Sequence[Round]) -> str:
    ours = [goal.read(found, ANNEAL) for found in rounds]
    if goal.beside is None:
        return _spread(ours)
    theirs = [goal.read(found, goal.beside) for found in rounds]
    if min(theirs) <= 0:  # a latency that noise has made less than nothing
        return f"no ratio: {_spread(ours)} beside {_spread(theirs)}"
    return _spread([own / other for own, other in zip(ours, theirs, strict=True)])


def _spread(values: Sequence[float]) -> str:
    median, least, greatest = (_digits(value) for value in (statistics.median(values), min(values), max(values)))
    return median if len(values) == 1 else f"{median} ({least} to {greatest})"


def _digits(value: float) -> str:
    """Three digits, and no exponent."""
    if value == 0:
        return "0"
    places = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(0, places)}f}"
