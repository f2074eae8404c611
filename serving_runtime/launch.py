"""Start the engine of one version: `python -m serving_runtime.launch --port 8000 --folder /model --plan '{…}'`.

The weights are here already (`serving_runtime.weights`). They are hashed once more, which brings them into memory for
vLLM: it starts on nothing whose digest differs from the ModelVersion's, also when it is started again.
"""

import argparse
import os
import sys
from pathlib import Path

from .command import SettingsError, engine_command, engine_environment
from .plan import ENGINE_KEY_VARIABLE, ServingPlan
from .weights.published import WeightsError, verify

__all__ = ["main"]

_BAD_SETTINGS, _NO_ACCESS = 64, 77


def main() -> None:
    """Verify, become vLLM; exit with 77 where the weights are not the published ones, 64 where settings do not fit."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.launch", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=ServingPlan.model_validate_json, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the weights are")
    options = parser.parse_args()
    plan: ServingPlan = options.plan
    try:
        count = verify(options.folder, plan.uri, plan.digest)
        print(f"verified {count} files of {plan.uri}", flush=True)
        is_keyed = ENGINE_KEY_VARIABLE in os.environ
        command = engine_command(plan, options.folder, options.port, is_keyed=is_keyed)
        os.environ |= engine_environment(plan, options.folder)
    except (WeightsError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_NO_ACCESS if isinstance(error, WeightsError) else _BAD_SETTINGS)
    os.execv(sys.executable, command)  # noqa: S606


if __name__ == "__main__":
    main()
