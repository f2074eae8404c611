"""The root file systems that the images stand on, made by debootstrap: no image registry has to be in reach.

Each holds what Debian's own `debian:SUITE-slim` holds, so the same Dockerfiles build on either.
"""

import hashlib
import shutil
import tempfile
from pathlib import Path

from toolbox.commands import run
from toolbox.debian import mirror

__all__ = ["build_base", "present_images"]

# As in Debian's slim images: what no program reads at run time.
_DROPPED = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache/apt",
    "var/lib/apt/lists",
)
_EXCLUDES = "".join(f"path-exclude /{folder}/*\n" for folder in _DROPPED if folder.startswith("usr/share"))


def build_base(suite: str) -> str:
    """Build a release of Debian unless it is there; return its reference, a digest of this recipe."""
    name = f"anneal.local/base:{hashlib.sha256(repr((suite, _DROPPED)).encode()).hexdigest()[:16]}"
    if name in present_images():
        return name
    print(f"building {name} with debootstrap (about half a minute)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", "--merged-usr", suite, str(root)]
        run([*command, *filter(None, [mirror()])], timeout=600.0)
        _slim(root)
        container = run(["buildah", "from", "scratch"]).strip()
        run(["buildah", "copy", "--quiet", container, str(root), "/"], timeout=300.0)
        run(["buildah", "config", "--cmd", "bash", container])
        run(["buildah", "commit", "--quiet", "--rm", container, name], timeout=300.0)
    return name


def present_images() -> list[str]:
    """The references in buildah's storage, the newest first."""
    return run(["buildah", "images", "--format", "{{.Name}}:{{.Tag}}"]).split()


def _slim(root: Path) -> None:
    for folder in _DROPPED:
        shutil.rmtree(root / folder, ignore_errors=True)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text(_EXCLUDES)
