"""Build what is missing, in the order of the catalogue, and load it into the cluster."""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from local_cluster.layout import REGISTRY, Layout
from local_cluster.loading import drop_images, load_image, loaded_images
from local_cluster.processes import find
from toolbox.commands import CommandError, run
from tools.requirements import selected

from .base import present_images
from .catalogue import BASES, BY_NAME, CHECKOUT, IMAGES, Image, reference

__all__ = ["build_images", "build_wheel", "load_images", "outdated", "references"]

_ROOM_BYTES = 40 * 2**30
"""What a build of everything takes, in buildah's storage and in the node's: with less, what is outdated goes first."""
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def build_wheel() -> Path:
    """Build our wheel into `dist/`; the same sources give the same bytes."""
    dist = CHECKOUT / "dist"
    for old in dist.glob("*.whl"):
        old.unlink()
    run([CHECKOUT / ".venv/bin/uv", "build", "--quiet", "--wheel", "--out-dir", dist, CHECKOUT])
    return next(dist.glob("*.whl"))


def references(names: Sequence[str], bases: Mapping[str, str], wheel: Path) -> dict[str, str]:
    """Return the reference of each named image, and before it those of the images it is built with."""
    needed = set(names)
    for image in reversed(IMAGES):
        if image.name in needed:
            needed |= {image.parent, *(["builder"] if image.is_built_by_uv else [])}
    return {image.name: reference(image, bases, wheel) for image in IMAGES if image.name in needed}


def build_images(names: Sequence[str], bases: Mapping[str, str], wheel: Path) -> dict[str, str]:
    """Build the named images and what they stand on, unless they are there; return their references."""
    present = set(present_images())
    wanted = references(names, bases, wheel)
    missing = [name for name, tag in wanted.items() if tag not in present]
    if missing and shutil.disk_usage("/var/lib").free < _ROOM_BYTES:
        _prune(wanted, keep=0, spare_alike=True)
    for name, tag in wanted.items():
        if name in missing:
            started = time.monotonic()
            print(f"building {tag}", flush=True)
            _build(BY_NAME[name], tag, {**bases, **wanted})
            print(f"built {tag} in {time.monotonic() - started:.0f} s", flush=True)
    _prune(wanted, keep=1)
    return {name: wanted[name] for name in names}


def load_images(built: Mapping[str, str]) -> None:
    """Load the images that pods use into the node, when a cluster with a node runs on this machine.

    Versions that were pruned here go from the node, too.
    """
    layout = Layout.of_node()
    if find(layout, "containerd") is None:
        print("no cluster with a node runs here: the images stay in buildah's storage", flush=True)
        return
    names = {image.name for image in IMAGES}
    gone = set(loaded_images(layout)) - set(present_images())
    drop_images(layout, (tag for tag in gone if tag.startswith(f"{REGISTRY}/") and _name(tag) in names))
    for name, tag in built.items():
        if BY_NAME[name].runs_in_cluster:
            started = time.monotonic()
            load_image(layout, tag)
            print(f"loaded {tag} in {time.monotonic() - started:.1f} s", flush=True)


def outdated(present: Sequence[str], wanted: str, keep: int, *, spare_alike: bool = False) -> list[str]:
    """Return the versions of an image that may go, of those present, the newest first.

    `keep` so many beside the wanted one; `spare_alike` also the newest that differs from it in our wheel alone, so that
    its layers need not be made again.
    """
    versions = [tag for tag in present if _name(tag) == _name(wanted) and tag != wanted]
    alike = [tag for tag in versions if spare_alike and "-" in tag and _layers(tag) == _layers(wanted)][:1]
    return [tag for tag in versions[keep:] if tag not in alike]


def _prune(wanted: Mapping[str, str], keep: int, *, spare_alike: bool = False) -> None:
    """Remove what is outdated, children first: a parent that is still stood on stays."""
    present = present_images()  # the newest first
    for name in reversed(list(wanted)):
        for tag in outdated(present, wanted[name], keep, spare_alike=spare_alike):
            with suppress(CommandError):  # a container or a child of another checkout still uses it
                run(["buildah", "rmi", tag])
    with suppress(CommandError):  # an unfinished build of somebody else's still uses a layer
        run(["buildah", "rmi", "--prune"])


def _name(tag: str) -> str:
    return tag.removeprefix(f"{REGISTRY}/").partition(":")[0]


def _layers(tag: str) -> str:
    return tag.rpartition("-")[0]


def _build(image: Image, tag: str, references: Mapping[str, str]) -> None:
    arguments = {"BASE": references[image.parent]}
    if image.requirements:
        arguments["REQUIREMENTS"] = image.requirements
        pins = CHECKOUT / "dist/requirements" / f"{image.requirements}.txt"
        pins.parent.mkdir(parents=True, exist_ok=True)
        pins.write_text(selected(image.requirements))
    if image.is_built_by_uv:
        arguments["BUILDER"] = references["builder"]
    command: list[str | Path] = [
        "buildah",
        "build",
        "--quiet",
        "--layers",
        "--force-rm",
        "--network=host",
        "--tag",
        tag,
    ]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    if image.parent not in BASES and _CERTIFICATES.exists():  # the machine's own trust reaches the package index
        command += ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
    command += ["--ignorefile", CHECKOUT / "images/context.ignore", "--file", image.dockerfile, CHECKOUT]
    run(command, timeout=1800.0)
