"""Put images into the node's container runtime.

Images of ours go through a registry on the node, as everywhere else: buildah pushes and containerd pulls only the
layers that the other side lacks, so a code change moves one small layer. The system images are imported from
archives, because the registry is not needed for a cluster to start.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from .commands import run
from .layout import REGISTRY, Layout

__all__ = ["import_archives", "load_image"]

_COMPRESSION = ("--compression-format=zstd", "--compression-level=1")  # unpacks several times faster than gzip


def import_archives(layout: Layout, archives: Mapping[str, Path]) -> None:
    """Import docker-archives that containerd does not hold in the version of that file."""
    loaded = layout.store / "loaded.json"
    known: dict[str, str] = json.loads(loaded.read_text()) if loaded.exists() else {}
    present = set(_ctr(layout, "list", "--quiet").split())
    for reference, archive in archives.items():
        if known.get(reference) != archive.name or reference not in present:
            _ctr(layout, "import", "--local", str(archive))
            known[reference] = archive.name
    loaded.write_text(json.dumps(known))


def load_image(layout: Layout, reference: str) -> None:
    """Load an image that buildah built, by a reference of the host anneal.local, which this cluster serves.

    Raises CommandError when buildah has no such image, or the cluster does not run.
    """
    pushed = f"docker://{layout.address}:5000/{reference.removeprefix(f'{REGISTRY}/')}"
    run(["buildah", "push", "--quiet", "--tls-verify=false", *_COMPRESSION, reference, pushed], timeout=900.0)
    _ctr(layout, "pull", "--local", "--hosts-dir", str(layout.config / "registries"), reference)


def _ctr(layout: Layout, *arguments: str) -> str:
    address = ["--address", str(layout.containerd_socket), "--namespace", "k8s.io"]
    return run([layout.bin / "ctr", *address, "images", *arguments], timeout=600.0)
