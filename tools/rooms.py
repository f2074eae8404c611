"""Run one room's tests: `python -m tools.rooms NAME PYTHON PYTEST-ARGUMENTS`, with a JUnit file of that name.

A few that fail are run once more, one after the other: a test that then passes met a machine too busy for a deadline,
or a fault that comes and goes. It is named as flaky and fails nothing; its first failure stays in the output and in the
JUnit file. Many that fail are no accident, and are not run again.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.budgets import REPORTS

__all__ = ["main", "run_room"]

_TESTS_FAILED = 1
"""pytest's exit code where tests ran and some failed."""

_MOST_RUN_AGAIN = 5


def run_room(name: str, pytest: Sequence[str], reports: Path) -> int:
    """Run pytest's command line, and what failed of it once more; return the last exit code."""
    remembered = reports / f"{name}.cache"
    shutil.rmtree(remembered, ignore_errors=True)
    command = [*pytest, "-o", f"cache_dir={remembered}"]
    code = subprocess.run([*command, f"--junit-xml={reports / name}.xml"], check=False).returncode
    failed = _failed(remembered)
    if code != _TESTS_FAILED or not 0 < len(failed) <= _MOST_RUN_AGAIN:
        return code
    print(f"\n{name}: {len(failed)} failed and run once more, by themselves", flush=True)
    alone = ["--last-failed", "--last-failed-no-failures=none", f"--junit-xml={reports / name}-again.xml"]
    code = subprocess.run([*command, *_by_one_process(pytest), *alone], check=False).returncode
    for test in sorted(failed - _failed(remembered)):
        print(f"flaky: {test} failed once, and passed by itself", flush=True)
    return code


def _failed(remembered: Path) -> set[str]:
    file = remembered / "v/cache/lastfailed"
    return set(json.loads(file.read_text())) if file.exists() else set()


def _by_one_process(pytest: Sequence[str]) -> list[str]:
    return ["--numprocesses=0"] if any(argument.startswith("--numprocesses") for argument in pytest) else []


def main(arguments: list[str]) -> int:
    """Run the room that the command line names."""
    name, python, *options = arguments
    return run_room(name, [python, "-m", "pytest", *options], REPORTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
