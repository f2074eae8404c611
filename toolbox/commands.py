"""Run the machine's programs; a failure is a CommandError that shows what the program said."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["CommandError", "completed", "last_lines", "run"]


class CommandError(Exception):
    """A program is not there, failed or did not answer; the message holds what it said."""

    @classmethod
    def of(cls, done: subprocess.CompletedProcess[str]) -> "CommandError":
        """The error of a program that ended with a status other than zero."""
        said = (done.stderr or done.stdout).strip()[-2000:]
        return cls(f"{_line(done.args)}: exit {done.returncode}\n{said}")


def run(command: Sequence[str | Path], *, given: str | None = None, timeout: float = 120.0) -> str:
    """Run a program to its end and return its standard output.

    Raises CommandError when it is not there, fails or outlasts `timeout` seconds.
    """
    done = completed(command, given=given, timeout=timeout)
    if done.returncode != 0:
        raise CommandError.of(done)
    return done.stdout


def completed(
    command: Sequence[str | Path], *, given: str | None = None, timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is.

    Raises CommandError when it is not there or outlasts `timeout` seconds.
    """
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=timeout)
    except FileNotFoundError as error:
        raise CommandError(f"{command[0]} is not installed (needed for: {_line(command)})") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"no answer within {timeout:.0f} s: {_line(command)}") from error


def last_lines(log: Path, count: int) -> str:
    """Return the end of a program's log, indented for a message."""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-count:])


def _line(command: Sequence[str | Path]) -> str:
    return " ".join(map(str, command))
