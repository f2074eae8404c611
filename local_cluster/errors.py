"""What can go wrong with the local cluster, beside a program of the machine that fails (toolbox.CommandError).

LocalClusterError
├── PreflightError   the machine lacks something: each finding says what, and what to do
├── HeldError        another checkout holds the cluster
├── BuildError       a part's source did not compile
└── NotReadyError    a component did not become healthy in time, or ended
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "BuildError",
    "Finding",
    "HeldError",
    "LocalClusterError",
    "NotReadyError",
    "PreflightError",
]


class LocalClusterError(Exception):
    """Anything the command line reports as one message, without a traceback."""


@dataclass(frozen=True)
class Finding:
    """One thing the machine lacks, and what its owner can do about it.

    `lasting` says that it lies in what the machine is (no root, no cgroups, the kernel), not in what is installed,
    running or stored on it: then a control plane alone is the way out.
    """

    problem: str
    remedy: str
    lasting: bool = False

    @property
    def sentence(self) -> str:
        """The finding as one sentence."""
        return f"{self.problem}: {self.remedy}"


class PreflightError(LocalClusterError):
    """The machine cannot hold the cluster that was asked for."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(["this machine cannot hold the cluster:", *(f"  - {f.sentence}" for f in findings)]))


class HeldError(LocalClusterError):
    """Another checkout started the cluster that runs on this machine."""


class BuildError(LocalClusterError):
    """A part did not compile; the message holds the compiler's last lines."""


class NotReadyError(LocalClusterError):
    """Something did not become ready before its deadline."""
