"""Run the machine's programs; a failure is a CommandError that shows what the program said."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import CommandError

__all__ = ["last_lines", "run"]


def run(command: Sequence[str | Path], *, given: str | None = None, timeout: float = 120.0) -> str:
    """Run a program to its end and return its standard output.

    Raises CommandError when it is not there, fails or outlasts `timeout` seconds.
    """
    said = " ".join(map(str, command))
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=timeout)
    except FileNotFoundError as error:
        raise CommandError(f"{command[0]} is not installed (needed for: {said})") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"no answer within {timeout:.0f} s: {said}") from error
    if done.returncode != 0:
        raise CommandError(f"{said}: exit {done.returncode}\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def last_lines(log: Path, count: int) -> str:
    """Return the end of a program's log, indented for a message."""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-count:])
