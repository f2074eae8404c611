"""Start the engine of one version: `python -m serving_runtime.launch --port 8000 --folder /model --plan '{…}'`.

The weights are here already (`serving_runtime.weights`). They are hashed once more, which brings them into memory for
vLLM: it starts on nothing whose digest differs from the ModelVersion's, also when it is started again.
"""

import argparse
import os
import sys
from pathlib import Path

from .adapter_folder import PLACES_VARIABLE, AdapterError, Places, brought, check, joined, wanted_in
from .command import SettingsError, engine_command, engine_environment
from .nodes import on_nodes
from .plan import ENGINE_KEY_VARIABLE, ServingPlan, WantedAdapter
from .weights.published import WeightsError, verify

__all__ = ["main"]

_BAD_SETTINGS, _NO_ACCESS = 64, 77


def main() -> None:
    """Verify, become vLLM; exit with 77 where the weights are not the published ones, 64 where settings do not fit."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.launch", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=ServingPlan.model_validate_json, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the weights are")
    parser.add_argument("--wanted", type=Path, help="the file that says which adapters a base is to have")
    parser.add_argument(
        "--nodes", type=int, default=1, help="how many of the group that this pod is in share the engine"
    )
    options = parser.parse_args()
    plan: ServingPlan = options.plan
    try:
        count = verify(options.folder, plan.uri, plan.digest)
        print(f"verified {count} files of {plan.uri}", flush=True)
        folder = _with_adapters(plan, options.folder, options.wanted) if plan.adapters else options.folder
        is_keyed = ENGINE_KEY_VARIABLE in os.environ
        command = engine_command(plan, folder, options.port, is_keyed=is_keyed)
        if options.nodes > 1:
            command = _on_nodes(command, options.nodes)
        os.environ |= engine_environment(plan, folder)
    except (OSError, WeightsError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_BAD_SETTINGS if isinstance(error, SettingsError) else _NO_ACCESS)
    os.execv(sys.executable, command)  # noqa: S606


def _on_nodes(command: list[str], nodes: int) -> list[str]:
    try:
        return on_nodes(command, nodes, os.environ)
    except KeyError as error:
        told = f"{error} is not set, by which LeaderWorkerSet tells a pod its place: are its webhooks there?"
        raise SettingsError(told) from error


def _with_adapters(plan: ServingPlan, base: Path, wanted: Path) -> Path:
    """Return the base's folder with the prompt of its adapters, by the first of them that is fit to be served.

    The file names first what answers already: a newcomer with another prompt is refused, and takes nothing over.

    The engine loads none itself: one that it cannot load would keep it from starting, and the others from answering.
    What is written lies in the home folder, which stays while the pod lives: the base's folder is only read.
    """
    places = Places(plan=plan, wanted=wanted, home=Path.home() / "adapters", served=Path.home() / "served")
    problems = []
    for name, adapter in _wanted(wanted).items():
        try:
            found = brought(plan, adapter, places.home)
            check(found, plan)
        except (AdapterError, WeightsError) as error:
            problems.append(f"{name}: {error}")
            continue
        os.environ[PLACES_VARIABLE] = places.model_dump_json()
        return joined(base, found, places.served)
    raise WeightsError("; ".join(problems) or f"{wanted} asks for no adapter, so nobody knows how to ask the base")


def _wanted(file: Path) -> dict[str, WantedAdapter]:
    try:
        return wanted_in(file)
    except (OSError, ValueError) as error:
        raise WeightsError(f"which adapters the base is to have cannot be read: {error}") from error


if __name__ == "__main__":
    main()
