"""What peers say of random data: `PYTHONPATH=operator python -m tests.decide.statistics.peers` keeps it of a few seeds.

Each peer has an environment of its own, outside the checkout, which is installed where it is not yet.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.environment import environment
from benchmarks.experiment.peers import PEERS

from .drawn import drawn

__all__ = ["KEPT", "NAMES", "Answer", "answers", "kept"]

KEPT = range(12)
"""The seeds of which answers are kept."""
NAMES = [*PEERS, "confseq"]
_CONFSEQ = ("confseq==0.0.11", "numpy==2.4.6")
_CONFSEQ_BUILDS_WITH = (
    "boost-headers==1.85.0.post1",
    "cmake==3.31.6",
    "ninja==1.13.2",
    "pybind11==2.13.6",
    "scikit-build==0.19.1",
    "setuptools==80.10.2",
    "wheel==0.48.0",
)
_PROGRAM, _FILE = Path(__file__).with_name("peer_program.py"), Path(__file__).with_name("peers_said.json")
Answer = Mapping[str, list[float]]
"""By method, what a peer has of it."""


def answers(name: str, seeds: Sequence[int]) -> Iterator[Answer]:
    """Ask a peer of the data of each seed."""
    is_built = name == "confseq"
    place = environment(name, _CONFSEQ, _CONFSEQ_BUILDS_WITH) if is_built else environment(name, PEERS[name])
    command: list[str | Path] = [place / "bin/python", "-W", "ignore", _PROGRAM, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("it was started with pipes")
        for seed in seeds:
            process.stdin.write(f"{json.dumps(drawn(seed).told())}\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} ended at the data of seed {seed}")
            answer: Answer = json.loads(line)
            yield answer
        process.stdin.close()


def kept() -> dict[str, list[Answer]]:
    """Return what each peer said when it was asked last."""
    said: dict[str, list[Answer]] = json.loads(_FILE.read_text())
    return said


if __name__ == "__main__":
    _FILE.write_text(json.dumps({name: [*answers(name, KEPT)] for name in NAMES}, indent=1) + "\n")
