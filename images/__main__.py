"""The command line: `python -m images build [NAME …] [--bases REF] [--load]`."""

import argparse
import sys

from local_cluster.errors import LocalClusterError
from local_cluster.layout import Layout
from toolbox.commands import CommandError
from toolbox.locks import exclusive

from .base import build_base
from .build import build_images, build_wheel, load_images
from .catalogue import BASES, IMAGES

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; return the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.bases and "{suite}" not in options.bases:
        parser.error("--bases must hold {suite}: the images stand on more than one release of Debian")
    try:
        with exclusive(Layout.of_node().cache / "locks" / "images"):  # one storage: builds would prune each other
            bases = {suite: (options.bases or "").format(suite=suite) or build_base(suite) for suite in BASES}
            built = build_images(options.names, bases, build_wheel())
            if options.load:
                load_images(built)
    except (CommandError, LocalClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for reference in built.values():
        print(reference)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m images", description="The images of Anneal.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the images whose inputs changed, and print their references")
    runnable = [image.name for image in IMAGES if image.runs_in_cluster and not image.on_demand]
    build.add_argument("names", nargs="*", default=runnable, help=f"images to build (default: {' '.join(runnable)})")
    told = "stand on these images, debian:{suite}-slim say, not on some made by debootstrap"
    build.add_argument("--bases", help=told)
    build.add_argument("--load", action="store_true", help="load them into the local cluster's node")
    return parser


if __name__ == "__main__":
    sys.exit(main())
