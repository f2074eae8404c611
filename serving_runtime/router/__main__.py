"""Start nginx with the router's configuration: `python -m serving_runtime.router`."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from serving_runtime.records import LOCK
from serving_runtime.terms import RECORDS_FOLDER

from .authorities import configuration, of_backends, own_authorities

__all__ = ["attend", "main"]


def main() -> int:
    """Run nginx, with as many workers as cores were asked for; the prefix is where router.conf and its Lua lie."""
    prefix = Path(__file__).parent
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    told = configuration(prefix / "router.conf", own_authorities(), of_backends())
    settings = f"daemon off; worker_processes {int(os.environ.get('ANNEAL_CORES', '1'))};"
    return attend([program, "-e", "stderr", "-p", str(prefix), "-c", str(told), "-g", settings], Path(RECORDS_FOLDER))


def attend(command: Sequence[str], records: Path) -> int:
    """Run nginx to its end; asked to end, it finishes the answers that it has begun. Return its exit status.

    Kubernetes asks with SIGTERM, at which nginx itself cuts all answers and records none. All its processes hold the
    lock beside its records, so whoever reads these knows when the last was written.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a container's first process has no default action
    records.mkdir(parents=True, exist_ok=True)
    with (records / LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        nginx = subprocess.Popen(command, pass_fds=[held.fileno()])
        signal.signal(signal.SIGTERM, lambda *_: nginx.send_signal(signal.SIGQUIT))
        return nginx.wait()


if __name__ == "__main__":
    sys.exit(main())
