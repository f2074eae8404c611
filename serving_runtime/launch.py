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

from prompts import TEMPLATE_FILE
from prompts.clock import FIXED_DATE
from prompts.thinking import ANALYSIS, CHANNEL, THINK

from .plan import ENGINE_KEY_VARIABLE, Dtype, ServingPlan

__all__ = ["WeightsError", "download", "engine_command", "main"]

_CHUNK = 1 << 20
_ATTEMPTS = 5
_TIMEOUT = 60.0
_NO_ACCESS = 77
_MIDDLEWARE = "serving_runtime.engine_key.EngineKey"
_DTYPES: dict[Dtype, str] = {"Auto": "auto", "BF16": "bfloat16", "FP16": "float16", "FP32": "float32"}
# The engine's names, by what a template writes: the more particular first, for GLM's thoughts open as Qwen's do.
_REASONING_PARSERS = (
    (ANALYSIS.opening, "openai_gptoss"),
    (CHANNEL.opening, "gemma4"),
    ("<arg_key>", "glm45"),
    (THINK.opening, "qwen3"),
)
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    # Connections are kept longer than the router's (router.conf): otherwise it now and then asks on one just closed.
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "75",
    "VLLM_NO_USAGE_STATS": "1",
    # The prompts of gpt-oss are vLLM's own, and not the template's: it writes a date into them.
    "VLLM_SYSTEM_START_DATE": FIXED_DATE.isoformat(),
}


class WeightsError(Exception):
    """The weights cannot be had, or are not the published ones."""


def main() -> None:
    """Download, verify, become vLLM; exit with 77 where the weights cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m serving_runtime.launch", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=ServingPlan.model_validate_json, required=True)
    parser.add_argument("--folder", type=Path, default=Path.home() / "model", help="where the weights go")
    options = parser.parse_args()
    plan: ServingPlan = options.plan
    try:
        download(plan, options.folder)
    except WeightsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_NO_ACCESS)
    os.environ |= _ENVIRONMENT
    is_keyed = ENGINE_KEY_VARIABLE in os.environ
    os.execv(sys.executable, engine_command(plan, options.folder, options.port, is_keyed=is_keyed))  # noqa: S606


def engine_command(plan: ServingPlan, folder: Path, port: int, *, is_keyed: bool) -> list[str]:
    """Return how vLLM is called. Of the model's names it tells clients the first."""
    names = dict.fromkeys(name for name in (plan.public_name, plan.served_name) if name)
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(folder), "--served-model-name", *names, "--port", str(port)]
    command += ["--middleware", _MIDDLEWARE] if is_keyed else []
    # A stream's fingerprint stands in its count alone, which the router may withhold: none, however it was asked.
    command += ["--fingerprint-mode", "none"]
    command += ["--shutdown-timeout", str(plan.drain_seconds)]
    command += ["--dtype", _DTYPES[plan.dtype], "--max-model-len", str(plan.max_model_length)]
    return [*command, *_reasoning(plan, folder), *plan.engine_args]


def _reasoning(plan: ServingPlan, folder: Path) -> list[str]:
    """The engine's parser for the thoughts that this folder's chat template writes; none for a model that has none.

    Everything else of the prompt stands in the template itself, so that plain clients get what training saw.
    """
    template = folder / TEMPLATE_FILE
    if not plan.thinks or not template.exists():
        return []
    text = template.read_text(encoding="utf-8")
    parser = next((parser for sign, parser in _REASONING_PARSERS if sign in text), None)
    return ["--reasoning-parser", parser] if parser else []


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
