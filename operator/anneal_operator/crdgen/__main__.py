"""Make `crds/*.yaml` and `docs/reference.md` from the models of `api`: `python -m anneal_operator.crdgen [--check]`."""

import argparse
import sys
from pathlib import Path

from .definitions import generate

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with --check tell which are stale; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m anneal_operator.crdgen", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is stale")
    options = parser.parse_args(arguments)
    files = generate(Path.cwd())
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if options.check:
            print(f"{path.relative_to(Path.cwd())} is stale: run `make generate`", file=sys.stderr)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files[path])
    return int(options.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
