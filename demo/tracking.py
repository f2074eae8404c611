"""What MLflow knows, asked as its own page asks it."""

import json
import urllib.request
from typing import Any
from urllib.parse import urlencode

from .commands import Commands
from .installation import SYSTEM

__all__ = ["ask_mlflow", "run_metrics"]


def ask_mlflow(commands: Commands, path: str, query: dict[str, str]) -> dict[str, Any]:
    """Return the answer to one GET; on the machine that is the cluster's node, Services answer at their addresses."""
    address = commands.get("service", "anneal-mlflow", "-n", SYSTEM)["spec"]["clusterIP"]
    url = f"http://{address}:5000/api/2.0/mlflow/{path}?{urlencode(query)}"
    request = urllib.request.Request(url, headers={"Host": "localhost:5000"})
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own MLflow
        found: dict[str, Any] = json.load(response)
    return found


def run_metrics(commands: Commands, run_id: str) -> dict[str, float]:
    """Return the last value of each of a run's metrics."""
    run = ask_mlflow(commands, "runs/get", {"run_id": run_id})["run"]
    return {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
