"""Which images there are, what each stands on, and what goes into it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_cluster.layout import REGISTRY
from tools.requirements import selected

__all__ = ["BASES", "BY_NAME", "CHECKOUT", "IMAGES", "Image", "reference"]

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Image:
    """One folder of `images/` with its Dockerfile.

    `parent` becomes the build argument BASE, `requirements` REQUIREMENTS (an extra or group of pyproject.toml, whose
    pins a build finds in `dist/requirements`); `has_wheel` says that our wheel is installed,
    `runs_in_cluster` that a pod uses it, so that loading is worth its time, `on_demand` that it is built only when
    it is named. `recipe` is the folder whose Dockerfile it shares, where it has none of its own.
    """

    name: str
    parent: str
    requirements: str = ""
    has_wheel: bool = False
    runs_in_cluster: bool = True
    on_demand: bool = False
    recipe: str = ""

    @property
    def dockerfile(self) -> Path:
        """The recipe."""
        return CHECKOUT / "images" / (self.recipe or self.name) / "Dockerfile"

    @property
    def is_built_by_uv(self) -> bool:
        """Whether the builder image installs its requirements; the builder's own come by pip."""
        return bool(self.requirements) and self.name != "builder"


BASES = ("bookworm", "trixie")
"""Releases of Debian, which have no Dockerfile (see base.py). The newer one is for what must not be old: nginx."""

# Parents come before their children.
IMAGES = (
    Image("python", "bookworm", runs_in_cluster=False),
    Image("python-trixie", "trixie", runs_in_cluster=False),
    Image("builder", "python", "installer", runs_in_cluster=False),
    Image("operator", "python", "operator", has_wheel=True),
    Image("router", "python-trixie", "router", has_wheel=True),
    Image("mlflow", "python", "mlflow"),
    Image("torch", "python", "torch", runs_in_cluster=False),
    Image("trainer", "torch", "train", has_wheel=True),
    Image("server", "torch", "serve-cpu", has_wheel=True),
    Image("server-gpu", "torch", "serve", has_wheel=True, on_demand=True, recipe="server"),
)
BY_NAME = {image.name: image for image in IMAGES}


def reference(image: Image, bases: Mapping[str, str], wheel: Path) -> str:
    """Return the image's name with its content's digest as the tag; `bases` are the references of BASES.

    Our wheel has a digest of its own behind a hyphen: images that differ in nothing else share their large layers.
    """
    digest = hashlib.sha256(image.dockerfile.read_bytes())
    parent = bases.get(image.parent) or reference(BY_NAME[image.parent], bases, wheel)
    digest.update(parent.encode())
    if image.requirements:
        digest.update(selected(image.requirements).encode())
    if image.is_built_by_uv:
        digest.update(reference(BY_NAME["builder"], bases, wheel).encode())
    ours = f"-{hashlib.sha256(wheel.read_bytes()).hexdigest()[:12]}" if image.has_wheel else ""
    return f"{REGISTRY}/{image.name}:{digest.hexdigest()[:12]}{ours}"
