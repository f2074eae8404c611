"""Anneal on the local cluster, as a user would install it; the end-to-end tests install it by this, too."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .commands import Commands

__all__ = ["SYSTEM", "Installation", "built_images"]

SYSTEM = "anneal-system"
_ROOT = Path(__file__).parents[1]
_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
# For vLLM without a GPU: 1 GiB for its cache, and no fixed cores, as here several engines share two.
_ENGINE = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}


def built_images() -> dict[str, str]:
    """Return each image's reference, by the name the chart has for it; `make images` has built them."""
    command = [sys.executable, "-m", "images", "build"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    references = [line for line in listed if line.startswith("anneal.local/")]
    return {reference.split("/")[1].split(":")[0]: reference for reference in references}


@dataclass(frozen=True)
class Installation:
    """The chart in a namespace of its own, and one namespace to work in."""

    commands: Commands
    namespace: str

    def install(self, images: Mapping[str, str]) -> None:
        """Install the chart, CRDs included, in namespaces that enforce the restricted standard."""
        for namespace in (SYSTEM, self.namespace):
            self.commands.kubectl("create", "namespace", namespace)
            self.commands.kubectl("label", "namespace", namespace, _RESTRICTED)
        # Helm installs CRDs once and never again: on a cluster that has older ones this brings them up to date.
        self.commands.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(_ROOT / "crds"))
        self.commands.helm(
            "install",
            "anneal",
            str(_ROOT / "charts/anneal"),
            f"--namespace={SYSTEM}",
            "--set=mlflow.publicUrl=http://localhost:5000",
            *(f"--set-string=server.environment.{name}={value}" for name, value in _ENGINE.items()),
            *(f"--set=images.{name}={reference}" for name, reference in images.items()),
        )
        self.commands.kubectl("rollout", "status", "-n", SYSTEM, "deployment/anneal-operator", "--timeout=180s")

    def clean(self) -> None:
        """Take away what an earlier installation left, wherever it was interrupted: the operator first, which would
        make anew what is deleted.
        """
        ended = ("--ignore-not-found", "--wait", "--cascade=foreground")
        self.commands.helm("uninstall", "anneal", "-n", SYSTEM, *ended)
        self.commands.delete_namespaces(self.namespace, SYSTEM)
