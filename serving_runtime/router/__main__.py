"""Start nginx with the router's configuration: `python -m serving_runtime.router`."""

import os
import shutil
from pathlib import Path

__all__ = ["main"]

_RECORDS = Path("/shared/records")  # router.conf says so, too


def main() -> None:
    """Become nginx, with as many workers as cores were asked for; the prefix is where router.conf and its Lua lie."""
    _RECORDS.mkdir(parents=True, exist_ok=True)
    prefix = Path(__file__).parent
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    settings = f"daemon off; worker_processes {int(os.environ.get('ANNEAL_CORES', '1'))};"
    os.execv(program, ["nginx", "-e", "stderr", "-p", str(prefix), "-c", "router.conf", "-g", settings])  # noqa: S606


if __name__ == "__main__":
    main()
