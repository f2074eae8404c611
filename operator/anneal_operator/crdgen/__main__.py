"""Make `crds/*.yaml` and `docs/reference.md` from the models of `api`: `python -m anneal_operator.crdgen [--check]`.

Both tell what the definitions no longer accept that those of the last commit did. That is allowed: what must not
shrink are the definitions of a release, which `tests/crdgen/test_compatibility.py` holds on to.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

from .compatibility import narrowings
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
    for path in files:
        if path.suffix == ".yaml":
            _tell_what_shrank(path, files[path])
    return int(options.check and bool(stale))


def _tell_what_shrank(path: Path, text: str) -> None:
    """Silent where there is no commit to compare with: in an export without Git, or for a kind that is new."""
    command = ["git", "show", f"HEAD:./{path.name}"]
    committed = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    if committed.returncode == 0:
        for narrowing in narrowings(yaml.safe_load(committed.stdout), yaml.safe_load(text)):
            print(f"{path.stem}: narrower than the last commit's: {narrowing}")


if __name__ == "__main__":
    sys.exit(main())
