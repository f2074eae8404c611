"""kubectl and helm, as a person would run them on the local cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cluster.layout import Layout
from toolbox.commands import CommandError, completed
from toolbox.polling import poll

__all__ = ["Commands", "DemoError", "wait_until"]

_TIMEOUT_SECONDS = 1200.0  # the longest that a step lets kubectl or helm wait, and more


class DemoError(Exception):
    """Something did not come about in time; the message says what was seen last."""


@dataclass(frozen=True)
class Commands:
    """The programs of the local cluster with its kubeconfig."""

    layout: Layout

    def kubectl(self, *arguments: str, check: bool = True, given: str | None = None) -> str:
        """Run kubectl; return what it printed."""
        return self.layout.kubectl(*arguments, check=check, given=given, timeout=_TIMEOUT_SECONDS)

    def delete_namespaces(self, *names: str) -> None:
        """Delete namespaces that may be there, and wait until they are gone."""
        self.layout.kubectl.delete_namespaces(*names, timeout=_TIMEOUT_SECONDS)

    def helm(self, *arguments: str, check: bool = True) -> str:
        """Run helm; return what it printed."""
        command: list[str | Path] = [self.layout.bin / "helm", f"--kubeconfig={self.layout.kubeconfig}", *arguments]
        done = completed(command, timeout=_TIMEOUT_SECONDS)
        if check and done.returncode != 0:
            raise CommandError.of(done)
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object or a list."""
        return self.layout.kubectl.get(*arguments)


def wait_until(reached: Callable[[], bool], patience: float, describe: Callable[[], str]) -> None:
    """Wait for something; raise DemoError with its description where it does not come about."""
    if not poll(reached, patience, every=2.0):
        raise DemoError(f"not reached within {patience:.0f} s:\n{describe()}")
