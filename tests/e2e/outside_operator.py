"""The operator as a process of this machine, outside the cluster, behind a proxy: to be killed and starved by tests."""

import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.operator_process import OPERATOR, operator_environment
from toolbox.polling import poll

from .api_proxy import ApiProxy

__all__ = ["OutsideOperator"]

_STATUS = "http://127.0.0.1:9090/readyz"


@dataclass
class OutsideOperator:
    """Started again under the same name, it need not wait for its own lease."""

    proxy: ApiProxy
    namespace: str
    folder: Path
    command: Sequence[str] = tuple(OPERATOR)
    environment: Mapping[str, str] = field(default_factory=dict)
    """What differs from `operator_environment`."""
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _log: Path = field(init=False)

    def __post_init__(self) -> None:
        self._log = self.folder / "operator.log"

    def start(self) -> None:
        """Start it, without waiting."""
        kubeconfig = self.folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(_kubeconfig(self.proxy.url)))
        environment = {**os.environ, **operator_environment(self.namespace), **self.environment}
        environment["KUBECONFIG"] = str(kubeconfig)
        with self._log.open("ab") as log:
            command = ["setpriv", "--pdeathsig=KILL", *self.command]  # what ends the tests ends it, too
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.starts += 1

    def wait_until_it_leads(self, patience: float = 60) -> None:
        assert poll(self._is_ready, patience, every=0.2), self.log()

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: it can say nothing and finish nothing."""
        if self.process:
            self.process.kill()

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(20)

    def log(self) -> str:
        return self._log.read_text()[-6000:]

    def errors(self) -> list[str]:
        """The lines that tell of an error, and all that is no line of a log."""
        lines = self._log.read_text().splitlines()
        return [line for line in lines if not line.startswith('{"time"') or '"level": "error"' in line]

    def _is_ready(self) -> bool:
        assert self.is_alive(), self.log()
        try:
            with urllib.request.urlopen(_STATUS, timeout=2) as answer:
                return bool(answer.read() == b"ready: leading")
        except OSError:
            return False


def _kubeconfig(url: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
        "current-context": "proxy",
    }
