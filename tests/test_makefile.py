"""`make help` has a line for each target a person may type."""

import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
TARGETS = next(line for line in (CHECKOUT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:")).split()[
    1:
]


def test_help_has_one_line_for_each_target() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    described = {line.split()[1]: line.split(maxsplit=2)[2] for line in done.stdout.splitlines()}
    assert set(TARGETS) == set(described)
    assert all(described[target] for target in TARGETS)
