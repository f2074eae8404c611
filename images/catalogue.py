"""Which images there are, what each stands on, and what goes into it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from local_cluster.layout import REGISTRY

__all__ = ["BY_NAME", "CHECKOUT", "IMAGES", "Image", "reference"]

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Image:
    """One folder of `images/` with its Dockerfile.

    `parent` becomes the build argument BASE, `requirements` REQUIREMENTS (a file of `requirements/`); `has_wheel`
    says that our wheel is installed, `runs_in_cluster` that a pod uses it, so that loading is worth its time.
    """

    name: str
    parent: str
    requirements: str = ""
    has_wheel: bool = False
    runs_in_cluster: bool = True

    @property
    def dockerfile(self) -> Path:
        """The recipe."""
        return CHECKOUT / "images" / self.name / "Dockerfile"

    @property
    def requirements_file(self) -> Path | None:
        """The exact versions that are installed."""
        return CHECKOUT / "requirements" / self.requirements if self.requirements else None


# Parents come before their children. `base` has no Dockerfile: see base.py.
IMAGES = (
    Image("python", "base", runs_in_cluster=False),
    Image("builder", "python", runs_in_cluster=False),
    Image("operator", "python", "operator.txt", has_wheel=True),
    Image("router", "python", "router.txt", has_wheel=True),
    Image("mlflow", "python", "mlflow.txt"),
    Image("torch", "python", "torch.txt", runs_in_cluster=False),
    Image("trainer", "torch", "trainer.txt", has_wheel=True),
    Image("server", "torch", "server-cpu.txt", has_wheel=True),
)
BY_NAME = {image.name: image for image in IMAGES}


def reference(image: Image, base: str, wheel: Path) -> str:
    """Return the image's name with its content's digest as the tag; `base` is the reference everything stands on."""
    digest = hashlib.sha256(image.dockerfile.read_bytes())
    digest.update((reference(BY_NAME[image.parent], base, wheel) if image.parent in BY_NAME else base).encode())
    if image.requirements_file:
        digest.update(reference(BY_NAME["builder"], base, wheel).encode() + image.requirements_file.read_bytes())
    if image.has_wheel:
        digest.update(wheel.read_bytes())
    return f"{REGISTRY}/{image.name}:{digest.hexdigest()[:16]}"
