"""Environments for what is measured beside ours, each made once from its wheels."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from toolbox.commands import run

__all__ = ["environment"]

_INSTALL_SECONDS = 1800.0


def environment(name: str, pins: tuple[str, ...]) -> Path:
    """Return the folder, made where it is not yet."""
    recipe = hashlib.sha256(repr((sys.version_info[:2], pins)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "anneal/peers" / f"{name}-{recipe}"
    if not (place / "compiled").exists():
        print(f"installing {', '.join(pins)} into {place}", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        run([sys.executable, "-m", "uv", "venv", "-q", "--python", sys.executable, place])
        install: list[str | Path] = [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "-q",
            "--compile-bytecode",
            "--python",
            place,
        ]
        run([*install, *pins], timeout=_INSTALL_SECONDS)
        (place / "compiled").touch()
    return place
