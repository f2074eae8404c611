"""Measure a rollout: `python -m benchmarks.rollout download`, and on a cluster with two versions `… alias`.

`download` needs nothing but curl and the router's nginx (`python -m tools.nginx`): ours and curl take turns at the same
local server, over a line that is as fast as `--line` says. `alias` moves `production` to `--version`, which is to be
warm, and asks for the model all the while:

    python -m benchmarks.rollout alias --router http://127.0.0.1:8080 --mlflow http://127.0.0.1:5000 \\
        --model spam-filter --version 2 --name spam-filter-tuned
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .download import download_rounds
from .moving import Moved, move_alias

__all__ = ["main"]

_HEAD = "| what | goal | median | least | greatest |\n| --- | --- | --- | --- | --- |"


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    download = parts.add_parser("download", help="weights beside curl")
    download.add_argument("--megabytes", type=int, default=1000)
    download.add_argument("--rounds", type=int, default=5)
    download.add_argument("--line", type=int, default=100, help="MB per second; 0 is as fast as this machine goes")
    alias = parts.add_parser("alias", help="how soon all clients are answered by the version that production names")
    for name, told in (("router", "its URL"), ("mlflow", "its URL"), ("model", "the name that clients call")):
        alias.add_argument(f"--{name}", required=True, help=told)
    alias.add_argument("--version", required=True, help="the version's number in MLflow")
    alias.add_argument("--name", required=True, help="the version's ModelVersion")
    alias.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    if options.part == "alias":
        _tell(move_alias(options.router, options.mlflow, options.model, options.version, options.name, options.clients))
        return 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        rounds = download_rounds(Path(name), options.megabytes * 10**6, options.rounds, options.line * 10**6)
    print(_HEAD)
    _row("bytes per second / curl's in parallel, verified and on the disk", ">= 0.8", [r.same / r.ours for r in rounds])
    _row("bytes per second / curl's in parallel, which verifies nothing", ">= 0.8", [r.bare / r.ours for r in rounds])
    _row("MB per second, with start and verification", "", [options.megabytes / r.ours for r in rounds])
    return 0


def _row(what: str, goal: str, figures: Sequence[float]) -> None:
    values = (statistics.median(figures), min(figures), max(figures))
    print(f"| {what} | {goal} | " + " | ".join(f"{value:.4g}" for value in values) + " |", flush=True)


def _tell(found: Moved) -> None:
    print("| what | goal | measured |\n| --- | --- | --- |")
    print(f"| alias moved, until the last request that another version answers | <= 10 s | {found.seconds:.2f} s |")
    print(f"| requests meanwhile, of these not answered | 0 | {found.requests}, {found.failed} |")


if __name__ == "__main__":
    sys.exit(main())
