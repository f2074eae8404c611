"""Build the parts, once per content: a warm cache answers in milliseconds, a cold one takes minutes.

A part is built into a folder beside its place in the cache and renamed when it is whole, under a lock of that
part: an interrupted build leaves nothing that is taken for a result, and two checkouts never build twice.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from toolbox.commands import last_lines, run
from toolbox.locks import exclusive

from .errors import BuildError
from .parts import Part
from .toolchain import find_go

__all__ = ["build", "built"]

_TAIL_LINES = 25
_REPORT_SECONDS = 15.0


def built(part: Part, cache: Path) -> Path | None:
    """Return the folder with the part's programs, or None where it was not built yet."""
    place = _place(part, cache)
    return place if place.is_dir() else None


def build(parts: Iterable[Part], cache: Path) -> dict[str, Path]:
    """Return where each program and file is, by its name, building the parts that are not in the cache.

    Raises BuildError naming the part and showing the compiler's last lines.
    """
    parts = list(parts)
    missing = [part for part in parts if built(part, cache) is None]
    go = find_go(cache) if missing else None
    for number, part in enumerate(missing, start=1):
        with exclusive(cache / "locks" / part.name):
            if go is not None and built(part, cache) is None:
                _build(part, go, cache, f"[{number}/{len(missing)}]")
    names = {part: (*part.programs, *(Path(file).name for file in part.files)) for part in parts}
    return {name: _place(part, cache) / name for part in parts for name in names[part]}


def _place(part: Part, cache: Path) -> Path:
    return cache / "programs" / f"{part.name}-{part.digest}"


def _build(part: Part, go: Path, cache: Path, count: str) -> None:
    place = _place(part, cache)
    unfinished = place.with_name(f"{place.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    output = unfinished / part.programs[0] if len(part.programs) == 1 else f"{unfinished}/"
    command: list[str | Path] = [
        go,
        "build",
        "-v",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        part.link_flags,
    ]
    command += ["-tags", part.tags] if part.tags else []
    command += ["-o", output, "tool" if part.is_tool else "."]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    print(f"{count} building {part.name} {part.version}: {', '.join(part.programs)}", flush=True)
    with (unfinished / "build.log").open("w+") as log:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=part.source, env=environment, stdout=log, stderr=log)
        _report(process, log, count, started)
        if process.returncode != 0:
            raise BuildError(
                f"building {part.name} failed ({part.source / 'go.mod'}):\n{last_lines(Path(log.name), _TAIL_LINES)}"
            )
    if part.files:
        module = run([go, "list", "-C", part.source, "-m", "-f", "{{.Dir}}", str(part.version_of)]).strip()
        for file in part.files:
            origin, target = Path(module) / file, unfinished / Path(file).name
            _copy_folder(origin, target) if origin.is_dir() else shutil.copyfile(origin, target)
    unfinished.rename(place)
    print(f"{count} built {part.name} in {time.monotonic() - started:.0f} s", flush=True)


def _copy_folder(origin: Path, target: Path) -> None:
    """Copy without the modes: Go's module cache is read-only, its folders too."""
    for folder, _, files in os.walk(origin):
        here = target / Path(folder).relative_to(origin)
        here.mkdir()
        for file in files:
            shutil.copyfile(Path(folder) / file, here / file)


def _report(process: subprocess.Popen[bytes], log: IO[str], count: str, started: float) -> None:
    """Say now and then how far the compiler is: `-v` prints a line per package."""
    while True:
        try:
            process.wait(timeout=_REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            packages = sum(
                1 for line in Path(log.name).read_text(errors="replace").splitlines() if not line.startswith("go: ")
            )
            print(f"{count}   {packages} packages compiled, {time.monotonic() - started:.0f} s", flush=True)
        else:
            return
