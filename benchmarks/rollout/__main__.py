"""Measure a version's way to its clients: `PYTHONPATH=operator python -m benchmarks.rollout`, fifteen minutes at most.

- `download`: weights beside curl, which takes turns with it at the same local server, over a line that is as fast as
  `--line` says. It needs nothing but curl and the router's nginx (`python -m tools.nginx`).
- `adapter`: an adapter from its manifest to its first token, on a base that answers already.
- `alias`: how soon all clients are answered by the version that `production` is moved to.
- `cold-start`: a version from its manifest to its first token, beside plain vLLM.
- `many`: the operator's memory and writes with a hundred versions.

All but the first are measured as root on the running local cluster, with Anneal installed there anew, a base and an
adapter trained, and real engines: they share that, which takes about five minutes, and takes an installation that is
there away. `--only NAME` measures one, or several.
"""

import argparse
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from .adapter import measure_adapter
from .alias import measure_alias
from .cold_start import measure_cold_start
from .download import measure_download
from .figures import HEAD, Figure
from .many import measure_many
from .scene import Scene, scene

__all__ = ["main"]

_MINUTES = 14
"""What was begun is taken away in the last one."""
_ON_CLUSTER: dict[str, Callable[[Scene], list[Figure]]] = {
    "adapter": measure_adapter,
    "alias": measure_alias,
    "cold-start": measure_cold_start,
    "many": measure_many,
}
_DOWNLOAD = "download"


class _TimeIsUpError(Exception):
    """What was not measured by now is not measured."""


def main() -> int:
    """Measure, and print the table; return 1 where anything could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [_DOWNLOAD, *_ON_CLUSTER]
    parser.add_argument("--only", metavar="NAME", nargs="+", choices=names, default=names, help=", ".join(names))
    parser.add_argument("--megabytes", type=int, default=500, help="what is downloaded")
    parser.add_argument("--line", type=int, default=100, help="MB per second; 0 is as fast as this machine goes")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what it made goes with it
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(60 * _MINUTES)
    rows, failed = list[str](), list[str]()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name, ExitStack() as stack:
        download = partial(measure_download, Path(name), options.megabytes * 10**6, options.line * 10**6)
        try:
            for what, measure in _measures(options.only, download, Path(name), stack):
                rows += _measured(what, measure, failed)
        except _TimeIsUpError:
            failed.append(f"whatever is not in the table: {_MINUTES} minutes were over")
        except Exception as error:  # noqa: BLE001 - the cluster did not come about: what was measured before is told
            traceback.print_exc()
            failed.append(f"whatever takes the cluster: {error}")
        signal.alarm(0)
    print(HEAD, *rows, sep="\n")
    print("".join(f"not measured: {one}\n" for one in failed), end="", file=sys.stderr)
    return 1 if failed else 0


def _end(*_: object) -> None:
    raise _TimeIsUpError


def _measures(
    names: Sequence[str], download: Callable[[], list[Figure]], folder: Path, stack: ExitStack
) -> Iterator[tuple[str, Callable[[], list[Figure]]]]:
    """What was asked for, by its name; the cluster is brought up for the first of them that needs it."""
    if _DOWNLOAD in names:
        yield _DOWNLOAD, download
    on_cluster = {name: measure for name, measure in _ON_CLUSTER.items() if name in names}
    if on_cluster:
        made = stack.enter_context(scene(folder))
        yield from ((name, partial(measure, made)) for name, measure in on_cluster.items())


def _measured(what: str, measure: Callable[[], list[Figure]], failed: list[str]) -> list[str]:
    """Return the lines of one; that it could not be measured keeps nobody from the others."""
    try:
        rows = [figure.row for figure in measure()]
    except _TimeIsUpError:
        raise
    except Exception as error:  # noqa: BLE001 - of whatever kind: it is told, and the others are measured
        traceback.print_exc()
        failed.append(f"{what}: {error}")
        return []
    print(*rows, sep="\n", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
