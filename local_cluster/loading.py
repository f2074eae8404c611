"""Put images into the node's container runtime.

Images of ours go through a registry on the node, as everywhere else: buildah pushes and containerd pulls only the
layers that the other side lacks, so a code change moves one small layer. The system images are imported from
archives, because the registry is not needed for a cluster to start.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from toolbox.commands import run

from .layout import REGISTRY, Layout

__all__ = ["drop_images", "import_archives", "load_image", "loaded_images"]

_COMPRESSION = ("--compression-format=zstd", "--compression-level=1")  # unpacks several times faster than gzip


def import_archives(layout: Layout, archives: Mapping[str, Path]) -> None:
    """Import docker-archives that containerd does not hold in the version of that file."""
    loaded = layout.store / "loaded.json"
    known: dict[str, str] = json.loads(loaded.read_text()) if loaded.exists() else {}
    present = set(loaded_images(layout))
    for reference, archive in archives.items():
        if known.get(reference) != archive.name or reference not in present:
            _ctr(layout, "import", "--local", str(archive))
            known[reference] = archive.name
    loaded.write_text(json.dumps(known))


def load_image(layout: Layout, reference: str) -> None:
    """Load an image that buildah built, by a reference of the host anneal.local, which this cluster serves.

    Raises CommandError when buildah has no such image, or the cluster does not run.
    """
    if _held(layout, reference) == _image_id(reference):
        return
    pushed = f"docker://{layout.address}:5000/{reference.removeprefix(f'{REGISTRY}/')}"
    run(["buildah", "push", "--quiet", "--tls-verify=false", *_COMPRESSION, reference, pushed], timeout=900.0)
    _ctr(layout, "pull", "--local", "--hosts-dir", str(layout.config / "registries"), reference)


def drop_images(layout: Layout, references: Iterable[str]) -> None:
    """Forget images in containerd, under the name and under the id; layers go when no other image has them."""
    for reference in references:
        image_id = _held(layout, reference)
        _ctr(layout, "remove", reference)
        if image_id in _ctr(layout, "list", "--quiet").split():
            _ctr(layout, "remove", image_id)


def loaded_images(layout: Layout) -> list[str]:
    """The references that containerd holds."""
    return [name for name in _ctr(layout, "list", "--quiet").split() if not name.startswith("sha256:")]


def _image_id(reference: str) -> str:
    return "sha256:" + run(["buildah", "inspect", "--type=image", "--format={{.FromImageID}}", reference]).strip()


def _held(layout: Layout, reference: str) -> str:
    """The id of the image of that name in containerd: the digest of its configuration; empty when there is none."""
    listed = [line.split() for line in _ctr(layout, "list", f"name=={reference}").splitlines()[1:]]
    if not listed:
        return ""
    manifest = run([*_client(layout), "content", "get", listed[0][2]])
    return str(json.loads(manifest)["config"]["digest"])


def _ctr(layout: Layout, *arguments: str) -> str:
    return run([*_client(layout), "images", *arguments], timeout=600.0)


def _client(layout: Layout) -> list[str | Path]:
    return [layout.bin / "ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io"]
