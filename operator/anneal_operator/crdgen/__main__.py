"""Make `crds/*.yaml` and `docs/reference.md` from the models of `api`: `python -m anneal_operator.crdgen [--check]`.

Both tell what the definitions no longer accept that committed ones did. That is allowed: what must not
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
    """Compare with the last commit, or, where that has this very definition, with the one before.

    Silent where there is no commit to compare with: in an export without Git, or for a kind that is new.
    """
    for revision in ("HEAD", "HEAD~1"):
        committed = _committed(path, revision)
        if committed is None:
            return
        if committed != text:
            for narrowing in narrowings(yaml.safe_load(committed), yaml.safe_load(text)):
                print(f"{path.stem}: narrower than in {revision}: {narrowing}")
            return


def _committed(path: Path, revision: str) -> str | None:
    command = ["git", "show", f"{revision}:./{path.name}"]
    shown = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    return shown.stdout if shown.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
