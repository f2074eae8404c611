"""kubectl and helm, as a person would run them on the local cluster."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_cluster.layout import Layout
from local_cluster.polling import poll

__all__ = ["Commands", "DemoError", "wait_until"]


class DemoError(Exception):
    """Something did not come about in time; the message says what was seen last."""


@dataclass(frozen=True)
class Commands:
    """The programs of the local cluster with its kubeconfig."""

    layout: Layout

    def kubectl(self, *arguments: str, check: bool = True, given: str | None = None) -> str:
        """Run kubectl; return what it printed."""
        return self._run("kubectl", *arguments, check=check, given=given)

    def helm(self, *arguments: str, check: bool = True) -> str:
        """Run helm; return what it printed."""
        return self._run("helm", *arguments, check=check)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object or a list."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def _run(self, program: str, *arguments: str, check: bool, given: str | None = None) -> str:
        command = [str(self.layout.bin / program), *arguments]
        environment = {**os.environ, "KUBECONFIG": str(self.layout.kubeconfig)}
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, env=environment)
        if check and done.returncode != 0:
            raise DemoError(f"{program} {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout


def wait_until(reached: Callable[[], bool], patience: float, describe: Callable[[], str]) -> None:
    """Wait for something; raise DemoError with its description where it does not come about."""
    if not poll(reached, patience, every=1.0):
        raise DemoError(f"not reached within {patience:.0f} s:\n{describe()}")
