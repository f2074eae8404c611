"""As many requests as 32 connections can have answered, by wrk."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from toolbox.commands import CommandError, run

from .messages import question
from .processes import Running

__all__ = ["Saturated", "parse", "saturate"]

CONNECTIONS = 32
_PACKAGES = ("wrk", "libluajit-5.1-2")
_SCRIPT = Path(__file__).parent / "saturate.lua"


@dataclass(frozen=True)
class Saturated:
    """`busy` is the share of its core that the system used: below 0.95, those who ask were the limit."""

    per_second: float
    per_cpu_second: float
    busy: float


def saturate(running: Running, seconds: float, folder: Path) -> Saturated:
    """Ask for as long, after a second that is not counted."""
    body = folder / "question.json"
    body.write_bytes(question("@USER@"))
    _wrk(running.port, 1, body)
    before = running.cpu_seconds()
    requests, lasted = parse(_wrk(running.port, max(1, round(seconds)), body))
    cpu = running.cpu_seconds() - before
    return Saturated(requests / lasted, requests / cpu, cpu / lasted)


def _wrk(port: int, seconds: int, body: Path) -> str:
    place = _installed()
    libraries = place / "usr/lib/x86_64-linux-gnu"
    command: list[str | Path] = ["env", f"LD_LIBRARY_PATH={libraries}", place / "usr/bin/wrk", "--threads", "1"]
    command += ["--connections", str(CONNECTIONS), "--duration", f"{seconds}s", "--timeout", "30s", "--script", _SCRIPT]
    return run([*command, f"http://127.0.0.1:{port}/", "--", body], timeout=seconds + 60.0)


def parse(said: str) -> tuple[int, float]:
    """Read how many requests were answered in how many seconds; raise CommandError where one failed."""
    told = json.loads(said.strip().splitlines()[-1])
    if told["failed"]:
        raise CommandError(f"{told['failed']} of {told['requests']} requests failed:\n{said}")
    return int(told["requests"]), float(told["seconds"])


def _installed() -> Path:
    """Return the folder with wrk, brought from this machine's own Debian where it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "anneal/programs/wrk"
    if not place.is_dir():
        print(f"bringing wrk into {place}", file=sys.stderr, flush=True)
        unfinished = place.with_name("wrk.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        packages = unfinished / "packages"
        packages.mkdir(parents=True)
        run(["env", "-C", packages, "apt-get", "-q", "download", *_PACKAGES])
        for package in sorted(packages.glob("*.deb")):
            run(["dpkg-deb", "--extract", package, unfinished])
        unfinished.rename(place)
    return place
