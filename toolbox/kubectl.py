"""kubectl, wrapped once: with the kubeconfig of one cluster, in one namespace."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .commands import CommandError, completed

__all__ = ["Kubectl"]

_TIMEOUT_SECONDS = 300.0
_MAKERS = "deployments,statefulsets,jobs"
"""What makes pods anew, of Kubernetes' own kinds; with `--cascade=foreground` their pods go before them."""


@dataclass(frozen=True)
class Kubectl:
    """Called like a function, it returns what kubectl printed."""

    program: Path
    kubeconfig: Path
    namespace: str = ""

    def __call__(
        self, *arguments: str, given: str | None = None, check: bool = True, timeout: float = _TIMEOUT_SECONDS
    ) -> str:
        """Run it; `given` is its standard input. Without `check`, a failure is only what it did not print.

        Raises CommandError when it fails, or outlasts `timeout` seconds.
        """
        done = self.process(*arguments, given=given, timeout=timeout)
        if check and done.returncode != 0:
            raise CommandError.of(done)
        return done.stdout

    def process(
        self, *arguments: str, given: str | None = None, timeout: float = _TIMEOUT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever that is, for who looks at the exit status or at what it complained of."""
        namespace = [f"--namespace={self.namespace}"] if self.namespace else []
        command: list[str | Path] = [self.program, f"--kubeconfig={self.kubeconfig}", *namespace, *arguments]
        return completed(command, given=given, timeout=timeout)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object or a list."""
        found: dict[str, Any] = json.loads(self("get", *arguments, "--output=json"))
        return found

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Apply an object or a list."""
        self("apply", "--filename=-", given=json.dumps(manifest))

    def delete_namespaces(self, *names: str, timeout: float = _TIMEOUT_SECONDS) -> None:
        """Delete namespaces that may be there, their pods first: Kubernetes looks at one with pods in it again only
        after half of the longest time that any of them may take to end. What makes any by other means has ended before.
        """
        every = ("--all", "--ignore-not-found", "--wait=true")
        for name in names:
            within = self.within(name)
            within("delete", _MAKERS, *every, "--cascade=foreground", timeout=timeout)
            within("delete", "pods", *every, timeout=timeout)
        self("delete", "namespace", *names, "--ignore-not-found", "--wait=true", timeout=timeout)

    def within(self, namespace: str) -> "Kubectl":
        """The same in another namespace."""
        return replace(self, namespace=namespace)
