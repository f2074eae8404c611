"""The images of the cluster's own pods: static programs on an empty root, so nothing has to be downloaded.

`busybox` is Debian's busybox-static. The storage provisioner's helper pods use it, and tests may.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolbox.commands import run
from toolbox.locks import exclusive

__all__ = ["BUSYBOX", "COREDNS", "LOCAL_PATH", "PAUSE", "ProgramImage", "image_archive", "image_archives"]

PAUSE = "anneal.local/pause:1"
COREDNS = "anneal.local/coredns:1"
LOCAL_PATH = "anneal.local/local-path-provisioner:1"
BUSYBOX = "anneal.local/busybox:1"

_LINKS = (
    "sh",
    "cat",
    "chmod",
    "echo",
    "httpd",
    "ls",
    "mkdir",
    "mv",
    "nslookup",
    "rm",
    "sleep",
    "tail",
    "test",
    "wget",
)


@dataclass(frozen=True)
class ProgramImage:
    """An image of one static program."""

    reference: str
    program: str
    entrypoint: str
    links: tuple[str, ...] = ()


_IMAGES = (
    ProgramImage(PAUSE, "pause", '["/bin/pause"]'),
    ProgramImage(COREDNS, "coredns", '["/bin/coredns"]'),
    ProgramImage(LOCAL_PATH, "local-path-provisioner", '["/bin/local-path-provisioner"]'),
    ProgramImage(BUSYBOX, "busybox", "[]", _LINKS),
)


def image_archives(programs: Mapping[str, Path], cache: Path) -> dict[str, Path]:
    """Return a docker-archive for each of the cluster's own images by its reference."""
    elsewhere = Path("/bin")
    return {
        image.reference: image_archive(image, programs.get(image.program) or elsewhere / image.program, cache)
        for image in _IMAGES
    }


def image_archive(image: ProgramImage, program: Path, cache: Path) -> Path:
    """Return the image as a docker-archive, building it where the cache lacks it."""
    digest = hashlib.sha256(program.read_bytes() + repr(image).encode()).hexdigest()[:16]
    archive = cache / "system-images" / f"{image.program}-{digest}.tar"
    with exclusive(cache / "locks" / "system-images"):
        if not archive.exists():
            _build(image, program, archive)
    return archive


def _build(image: ProgramImage, program: Path, archive: Path) -> None:
    context = archive.with_suffix(".context")
    shutil.rmtree(context, ignore_errors=True)
    (context / "root/bin").mkdir(parents=True)
    shutil.copy2(program, context / "root/bin" / image.program)
    for link in image.links:
        (context / "root/bin" / link).symlink_to(image.program)
    (context / "Dockerfile").write_text(f"FROM scratch\nCOPY root /\nENTRYPOINT {image.entrypoint}\n")
    run(["buildah", "build", "--quiet", "--tag", image.reference, str(context)])
    unfinished = archive.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    run(["buildah", "push", "--quiet", image.reference, f"docker-archive:{unfinished}:{image.reference}"])
    unfinished.rename(archive)
    shutil.rmtree(context)
