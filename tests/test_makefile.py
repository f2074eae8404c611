"""`make help` has a line for each target a person may type."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
TARGETS = (
    "setup",
    "format",
    "check",
    "cluster-test",
    "test",
    "soak",
    "cluster-up",
    "cluster-down",
    "images",
    "demo",
    "generate",
    "bench",
)


def test_help_has_one_line_for_each_target() -> None:
    done = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    described = {line.split()[1]: line.split(maxsplit=2)[2] for line in done.stdout.splitlines()}
    assert set(TARGETS) <= set(described)
    assert all(described[target] for target in TARGETS)
