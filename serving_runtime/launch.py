"""Start the engine of one version: `python -m serving_runtime.launch --port 8000 --plan '{…}'`.

The weights come from MLflow's artifact store over its HTTP proxy, file by file as their manifest lists them, and are
hashed on the way; vLLM starts on nothing whose digest differs from the ModelVersion's.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO, cast

from .adapter_folder import PLACES_VARIABLE, AdapterError, Places, brought, check, joined, wanted_in
from .command import SettingsError, engine_command, engine_environment
from .plan import ENGINE_KEY_VARIABLE, ServingPlan, WantedAdapter

__all__ = ["WeightsError", "download", "main"]

_CHUNK = 1 << 20
_ATTEMPTS = 5
_TIMEOUT = 60.0
_BAD_SETTINGS, _NO_ACCESS = 64, 77


class WeightsError(Exception):
    """The weights cannot be had, or are not the published ones."""


def main() -> None:
    """Download, verify, become vLLM; exit with 77 where the weights cannot be had, 64 where the settings do not fit."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.launch", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=ServingPlan.model_validate_json, required=True)
    parser.add_argument("--folder", type=Path, default=Path.home() / "model", help="where the weights go")
    parser.add_argument("--wanted", type=Path, help="the file that says which adapters a base is to have")
    options = parser.parse_args()
    plan: ServingPlan = options.plan
    try:
        download(plan, options.folder)
        folder = _with_adapters(plan, options.folder, options.wanted) if plan.adapters else options.folder
        is_keyed = ENGINE_KEY_VARIABLE in os.environ
        command = engine_command(plan, folder, options.port, is_keyed=is_keyed)
        os.environ |= engine_environment(plan, folder)
    except (WeightsError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_NO_ACCESS if isinstance(error, WeightsError) else _BAD_SETTINGS)
    os.execv(sys.executable, command)  # noqa: S606


def _with_adapters(plan: ServingPlan, base: Path, wanted: Path) -> Path:
    """Return the base's folder with the prompt of its adapters, by the first of them that is fit to be served.

    The engine loads none itself: one that it cannot load would keep it from starting, and the others from answering.
    """
    places = Places(plan=plan, wanted=wanted, home=base.with_name("adapters"), served=base.with_name("served"))
    places.home.mkdir(parents=True, exist_ok=True)
    problems = []
    for name, adapter in sorted(_wanted(wanted).items()):
        try:
            found = brought(plan, adapter, places.home, download)
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


def download(plan: ServingPlan, folder: Path) -> None:
    """Bring the published folder here, each file checked; raise WeightsError where that cannot be done."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    digest = _fetch(plan, "manifest.json", folder)
    if f"sha256:{digest}" != plan.digest:
        raise WeightsError(f"the manifest of {plan.uri} has sha256:{digest}, published was {plan.digest}")
    listed: dict[str, str] = json.loads((folder / "manifest.json").read_bytes())["files"]
    for name, expected in listed.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise WeightsError(f"the manifest of {plan.uri} names a file outside it: {name}")
        if _fetch(plan, name, folder) != expected:
            raise WeightsError(f"{name} of {plan.uri} was changed after it was published")
    print(f"verified {len(listed)} files of {plan.uri}", flush=True)


def _fetch(plan: ServingPlan, name: str, folder: Path) -> str:
    """Download one file, trying again for a while; return its SHA-256."""
    path = plan.uri.removeprefix("mlflow-artifacts:/").strip("/")
    url = f"{plan.tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{path}/{name}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    failure: OSError | None = None
    for attempt in range(_ATTEMPTS):
        time.sleep(2**attempt if failure else 0)
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as source, target.open("wb") as file:  # noqa: S310
                return _copy(cast("BinaryIO", source), file)
        except urllib.error.HTTPError as error:
            error.close()
            failure = error
        except OSError as error:
            failure = error
    raise WeightsError(f"{url} cannot be downloaded: {failure}") from failure


def _copy(source: BinaryIO, target: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        target.write(chunk)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
