"""Measure experiments: `PYTHONPATH=operator python -m benchmarks.experiment`, all parts or one of them.

`verdict` is the operator's processor time for a verdict, on what a recorder has of a million users, and beside it what
others take that judge sums. `users` is how many users a sequence takes, by simulation with the operator's own rule.
`breach` is how soon users are given back of a challenger that fails.
"""

import argparse
import asyncio
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from anneal_operator.decide.statistics.snapshot import Snapshot
from tests.support.simulated import users_to_decide

from .breach import breaches
from .counted import recorder
from .peers import peers
from .verdict import Judged, judged, verdicts

__all__ = ["main"]

_SEQUENCE, _WELCH = "the rule alone, as a sequence", "the rule alone, as a fixed horizon"
_SAME_QUESTION = {"gbstats": _SEQUENCE, "tea-tasting": _WELCH, "spotify-confidence": _WELCH}
_EFFECTS = ((1.25, 0.7), (1.0, 1.05))


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experiment",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="?", choices=["verdict", "users", "breach"], help="all where it is left out")
    parser.add_argument("--users", type=int, default=1_000_000, help="so many the recorder knows")
    parser.add_argument("--rounds", type=int, default=50, help="verdicts of each")
    parser.add_argument("--runs", type=int, default=2000, help="simulated experiments of each effect")
    parser.add_argument("--breaches", type=int, default=100, help="so many challengers that fail")
    options = parser.parse_args()
    print("| what | goal | median | least | greatest |\n| --- | --- | --- | --- | --- |", flush=True)
    if options.part in {None, "verdict"}:
        _measure_verdicts(options.users, options.rounds)
    if options.part in {None, "users"}:
        for times, most in _EFFECTS:
            what = f"users until a winner / a fixed horizon's, at {times:g} times the least effect that matters"
            _row(what, f"<= {most:g}", users_to_decide(options.runs, times))
    if options.part in {None, "breach"}:
        found = asyncio.run(breaches(options.breaches))
        _row("s from a breach until all routers have given its users back", "<= 60", found)
    return 0


def _measure_verdicts(users: int, rounds: int) -> None:
    with recorder(users) as running:
        took, snapshot = asyncio.run(verdicts(running.url, rounds))
        _row(f"ms of a verdict over {running.users:,} users", "<= 100", [seconds * 1000 for seconds in took])
    for name, found in _by_turns(snapshot, rounds).items():
        _row(f"ms of {name}", "", [one.seconds * 1000 for one in found])


def _by_turns(snapshot: Snapshot, rounds: int) -> dict[str, list[Judged]]:
    """Judge the same numbers by ours and by the others; raise RuntimeError where these find something else."""
    single_look = replace(snapshot, terms=replace(snapshot.terms, method="FixedHorizon"))
    with peers(snapshot) as running:
        systems: dict[str, Callable[[], Judged]] = {
            _SEQUENCE: lambda: judged(snapshot),
            _WELCH: lambda: judged(single_look),
            **{name: peer.judged for name, peer in running.items()},
        }
        for judge in systems.values():
            judge()  # what the first look imports is not measured
        found: dict[str, list[Judged]] = {name: [] for name in systems}
        for _ in range(rounds):
            for name, judge in systems.items():
                found[name].append(judge())
    for name, same in _SAME_QUESTION.items():
        if not _agree(found[name][0], found[same][0]):
            raise RuntimeError(f"{name} found {found[name][0]}, and {same} {found[same][0]}")
    return found


def _agree(one: Judged, other: Judged) -> bool:
    pairs = ((one.lower, other.lower), (one.upper, other.upper))
    return all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs)


def _row(what: str, goal: str, figures: Sequence[float]) -> None:
    values = (statistics.median(figures), min(figures), max(figures))
    print(f"| {what} | {goal} | " + " | ".join(f"{value:.3g}" for value in values) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
