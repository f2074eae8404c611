"""Make a folder an artifact that no job published: `python -m serving_runtime.weights.describe FOLDER`.

It writes the manifest, and prints what a ModelVersion says of it.
"""

import argparse
import hashlib
import json
from pathlib import Path

from .published import MANIFEST, files_of

__all__ = ["describe", "main"]


def main() -> None:
    """Write the manifest of the folder that is named."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.weights.describe", description=__doc__)
    parser.add_argument("folder", type=Path)
    digest, size = describe(parser.parse_args().folder)
    print(f"digest: {digest}\nbytes: {size}")


def describe(folder: Path) -> tuple[str, int]:
    """Write a folder's manifest; return its digest and the size of all that it lists."""
    names = sorted(files_of(folder) - {MANIFEST})
    listed, sizes = {}, {}
    for name in names:
        if not (folder / name).is_file():
            raise SystemExit(f"error: {name} leads to no file: put what it stands for in its place, or remove it")
        with (folder / name).open("rb") as file:
            listed[name] = hashlib.file_digest(file, "sha256").hexdigest()
        sizes[name] = (folder / name).stat().st_size
    content = json.dumps({"bytes": sizes, "files": listed}, indent=1, sort_keys=True, ensure_ascii=False).encode()
    (folder / MANIFEST).write_bytes(content)
    return f"sha256:{hashlib.sha256(content).hexdigest()}", sum(sizes.values())


if __name__ == "__main__":
    main()
