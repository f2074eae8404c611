"""Environments for what is measured beside ours, each made once from its wheels."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from toolbox.commands import run

__all__ = ["environment"]

_INSTALL_SECONDS = 1800.0


def environment(name: str, pins: tuple[str, ...], builds_with: tuple[str, ...] = ()) -> Path:
    """Return the folder, made where it is not yet.

    What has no wheel for this Python is built by a compiler of the machine's, with what `builds_with` names, and with
    the headers of Boost where these are among it.
    """
    recipe = hashlib.sha256(repr((sys.version_info[:2], pins, *builds_with)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "anneal/peers" / f"{name}-{recipe}"
    if not (place / "compiled").exists():
        print(f"installing {', '.join(pins)} into {place}", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        run([sys.executable, "-m", "uv", "venv", "-q", "--python", sys.executable, place])
        if builds_with and shutil.which("c++") is None:
            raise RuntimeError(f"{', '.join(pins)} is built here: install a C++ compiler (Debian's g++)")
        if builds_with:
            _install(place, *builds_with)
        _install(place, *pins, isolated=not builds_with)
        (place / "compiled").touch()
    return place


def _install(place: Path, *pins: str, isolated: bool = True) -> None:
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    headers = place / "lib" / python / "site-packages/boost_headers/include"
    command: list[str | Path] = ["env", f"PATH={place / 'bin'}:{os.environ['PATH']}", f"BOOST_INCLUDEDIR={headers}"]
    command += [sys.executable, "-m", "uv", "pip", "install", "-q", "--compile-bytecode", "--python", place]
    run([*command, *([] if isolated else ["--no-build-isolation"]), *pins], timeout=_INSTALL_SECONDS)
