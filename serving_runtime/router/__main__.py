"""Start nginx with the router's configuration: `python -m serving_runtime.router`."""

import os
import shutil
from pathlib import Path

__all__ = ["main"]


def main() -> None:
    """Become nginx; the prefix is where router.conf and router.lua lie."""
    prefix = Path(__file__).parent
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    os.execv(program, ["nginx", "-e", "stderr", "-p", str(prefix), "-c", "router.conf", "-g", "daemon off;"])  # noqa: S606


if __name__ == "__main__":
    main()
