"""Adapters on one base, as end-to-end tests and benchmarks have them: trained there, and served by one engine."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from .bench import RESOURCES, TRAINING, Bench

__all__ = ["BASE", "MODEL", "SERVING", "fetch", "train_adapter", "train_base"]

MODEL, BASE = "small", "base"
SERVING: dict[str, Any] = {
    "sharing": "SharedBase",
    "dtype": "FP32",
    "maxModelLength": 256,
    "engineArgs": [{"name": "enforce-eager", "value": "true"}],
    "resources": {"requests": {"cpu": "250m", "memory": "5Gi"}},
    "adapters": {"maxRank": 8, "atOnce": 2},
}


def train_base(bench: Bench) -> None:
    """Publish the base, which nobody serves."""
    bench.submit(BASE, output={"modelName": MODEL, "aliases": [BASE]})
    bench.wait(BASE, "Succeeded")


def train_adapter(bench: Bench, name: str, steps: int) -> None:
    """Publish an adapter on it, which is served."""
    bench.submit(
        name,
        base={"uri": f"models:/{MODEL}@{BASE}"},
        tuning={"method": "LoRA", "lora": {"rank": 8, "alpha": 32}},
        training={**TRAINING, "maxSteps": steps},
        stages=dict.fromkeys(("prepare", "train", "publish"), RESOURCES),
        output={"modelName": MODEL, "formats": ["Adapter"], "serving": SERVING},
    )
    bench.wait(name, "Succeeded")


def fetch(address: str, uri: str, folder: Path) -> None:
    """Bring what was published from the MLflow at an address, with its manifest."""
    path = uri.removeprefix("mlflow-artifacts:/").strip("/")

    def brought(name: str) -> bytes:
        url = f"http://{address}:5000/api/2.0/mlflow-artifacts/artifacts/{path}/{name}"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "localhost:5000"})) as answer:
            found: bytes = answer.read()
        return found

    for name in ("manifest.json", *json.loads(brought("manifest.json"))["files"]):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(brought(name))
