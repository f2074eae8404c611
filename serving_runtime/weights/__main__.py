"""Bring the weights of one version: `python -m serving_runtime.weights --port 8000 --folder /weights --plan '{…}'`.

It goes before the engine, in a container of its own that no probe watches: for as long as bytes come it may take its
time. It ends with 77 where the weights cannot be had. As a container's first process it would not hear that it is to
end unless it listens; whenever it ends, what came stays.
"""

import argparse
import json
import os
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from serving_runtime.plan import ANY_ENDPOINT, ServingPlan

from .cache import bring
from .credentials import read_credentials
from .progress import Progress, told_at
from .published import WeightsError
from .sources import source_of

__all__ = ["main"]

_NO_ACCESS = 77


def main() -> None:
    """Bring them, and tell at the port how far that is."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.weights", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=ServingPlan.model_validate_json, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where artifacts lie, each under its digest")
    parser.add_argument("--credentials", type=Path, help="a folder with a file for each that the source is read with")
    parser.add_argument("--endpoints", type=json.loads, default=ANY_ENDPOINT, help="how a hub's address may begin")
    parser.add_argument("--room", type=int, help="how many bytes they may have; any number without it")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda said, _: os._exit(128 + said))
    plan: ServingPlan = options.plan
    progress = Progress()
    try:
        known = read_credentials(options.credentials) if options.credentials else {}
        source = source_of(plan.uri, plan.tracking_uri, known, lambda: datetime.now(UTC), options.endpoints)
        with told_at(options.port, progress):
            bring(source, plan.uri, plan.digest, options.folder, progress, options.room)
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_NO_ACCESS)
    except Exception as error:  # noqa: BLE001 - whatever it is
        print(f"error: {_where(error)}", file=sys.stderr)
        sys.exit(1)


def _where(error: Exception) -> str:
    """Its type and place: its words may have a credential in them."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


if __name__ == "__main__":
    main()
