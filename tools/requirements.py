"""The exact versions: one resolution of everything, and what an image or an environment takes of it.

    python -m tools.requirements resolve [--upgrade]   resolve pyproject.toml anew; versions move only when asked to
    python -m tools.requirements select NAME …         print the pins of these extras and groups, for `uv pip sync`

`requirements/constraints.txt` holds every extra and group; `requirements/serve.txt` the one extra that cannot stand
beside `serve-cpu`. A comment under each package names who needs it, so that selecting asks no index and needs nothing
but the standard library: `tools/setup.sh` selects before there is an environment. The comment is not part of what is
selected, so a new linter changes no image's digest. uv's own lock names an index on every line, so it is not kept.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

__all__ = ["main", "selected"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_FOLDER = _CHECKOUT / "requirements"
_CONSTRAINTS, _CONFLICTING = _FOLDER / "constraints.txt", _FOLDER / "serve.txt"
_NEEDED_BY = "    # for "


def selected(*names: str) -> str:
    """Return the pins, with hashes, of extras and dependency groups; raise ValueError where nothing has the name."""
    pins: list[tuple[str, set[str]]] = []
    for block in chain.from_iterable(_blocks(file.read_text()) for file in (_CONSTRAINTS, _CONFLICTING)):
        pin, _, users = block.rpartition(_NEEDED_BY)
        pins.append((pin, set(users.strip().split(", "))))
    if unknown := set(names) - {user for _, users in pins for user in users}:
        raise ValueError(f"no extra or group is called {', '.join(sorted(unknown))}: see pyproject.toml")
    return "".join(pin for pin, users in pins if users & set(names))


def resolve(*, upgrade: bool) -> None:
    """Write both files anew; a version that still fits stays, unless all are to be upgraded."""
    project = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())
    extras, groups = list(project["project"]["optional-dependencies"]), list(project["dependency-groups"])
    for file in (_CONSTRAINTS, _CONFLICTING):
        wanted = [name for name in extras if (name == _CONFLICTING.stem) == (file == _CONFLICTING)]
        options = {name: ["pyproject.toml", "--extra", name] for name in wanted}
        if file == _CONSTRAINTS:
            options |= {name: ["--group", name] for name in groups}
        _compile([*chain(*options.values()), "--generate-hashes", *(["--upgrade"] if upgrade else []), "-o", str(file)])
        users: dict[str, list[str]] = defaultdict(list)
        for name, option in sorted(options.items()):
            for line in _compile([*option, "--constraints", str(file)]).splitlines():
                users[_pin(line)].append(name)
        blocks = _blocks(file.read_text())
        file.write_text("".join(f"{block}{_NEEDED_BY}{', '.join(users[_pin(block)])}\n" for block in blocks))
        print(f"{file.relative_to(_CHECKOUT)}: {len(blocks)} packages")


def _compile(options: Sequence[str]) -> str:
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "pip", "compile", "-q", "--universal", "--no-header", "--no-annotate", *options]
    return subprocess.run(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout


def _blocks(text: str) -> list[str]:
    """A package's line, with the lines that are indented under it."""
    return re.findall(r"^\S.*\n(?:[ ].*\n)*", text, flags=re.MULTILINE)


def _pin(block: str) -> str:
    """Its name and version: for another Python a package may stand in another version."""
    return block.split(maxsplit=1)[0]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.requirements")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("resolve").add_argument("--upgrade", action="store_true", help="take the newest versions")
    commands.add_parser("select").add_argument("names", nargs="+", metavar="NAME", help="an extra or a group")
    options = parser.parse_args(arguments)
    if options.command == "resolve":
        resolve(upgrade=options.upgrade)
    else:
        print(selected(*options.names), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
