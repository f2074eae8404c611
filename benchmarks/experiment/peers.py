"""What else judges experiments by sums: of GrowthBook, of tea-tasting and of Spotify, each in a process of its own."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from anneal_operator.decide.statistics.snapshot import Snapshot
from anneal_operator.decide.statistics.sums import Scale, Sums
from benchmarks.environment import environment

from .verdict import Judged

__all__ = ["PEERS", "Peer", "in_units", "peers"]

PEERS = {
    "gbstats": ("gbstats==0.8.0",),
    "tea-tasting": ("tea-tasting==1.14.0",),
    "spotify-confidence": ("spotify-confidence==4.1.0",),
}
"""What is installed of each."""
_PROGRAM = Path(__file__).parent / "peer_verdict.py"


class Peer:
    """One that has been told what to judge."""

    def __init__(self, asked: IO[str], answers: IO[str], snapshot: Snapshot) -> None:
        self._asked, self._answers = asked, answers
        terms, counts = snapshot.terms, snapshot.counts
        arms = [in_units(sums, counts.scale) for sums in counts.sums]
        self._ask(json.dumps({"arms": arms, "level": terms.level, "planned": terms.planned}))

    def judged(self) -> Judged:
        """Have it judge once; raise ValueError where it has ended."""
        self._ask("")
        return Judged(**json.loads(self._answers.readline()))

    def _ask(self, line: str) -> None:
        self._asked.write(f"{line}\n")
        self._asked.flush()


@contextmanager
def peers(snapshot: Snapshot) -> Iterator[dict[str, Peer]]:
    """Begin all, and tell them of the numbers; installed where they are not yet."""
    with ExitStack() as running:
        yield {name: running.enter_context(_begun(name, snapshot)) for name in PEERS}


@contextmanager
def _begun(name: str, snapshot: Snapshot) -> Iterator[Peer]:
    python = environment(name, PEERS[name]) / "bin/python"
    command: list[str | Path] = [python, "-W", "ignore", _PROGRAM, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("it was started with pipes")
        try:
            yield Peer(process.stdin, process.stdout, snapshot)
        finally:
            process.stdin.close()


def in_units(sums: Sums, scale: Scale) -> dict[str, float]:
    """Return the sums of values as they were given, which are whole numbers of parts above `low`."""
    low, unit = scale.low, scale.width / scale.parts
    total = sums.n * low + unit * sums.y
    squares = sums.n * low**2 + 2 * low * unit * sums.y + unit**2 * sums.yy
    return {"n": sums.n, "sum": total, "squares": squares}
