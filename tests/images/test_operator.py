"""The operator needs nothing of what its image leaves out of the clients that it is installed with."""

import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
RECIPE = (CHECKOUT / "images/operator/Dockerfile").read_text()
SCRIPT = """
import importlib, pkgutil, sys

class Pruned:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(PREFIXES):
            raise ModuleNotFoundError(f"{name} is not in the image")

sys.meta_path.insert(0, Pruned())
import anneal_operator
for module in pkgutil.walk_packages(anneal_operator.__path__, "anneal_operator."):
    if ".crdgen" not in module.name:
        importlib.import_module(module.name)

import kopf, scipy.stats
from kopf._core.intents.piggybacking import login_via_client, login_with_service_account
from kubernetes.aio.client import ApiClient
from mlflow import MlflowClient
MlflowClient("http://127.0.0.1:9")
print("runs")
"""


def test_the_operator_runs_without_what_its_image_leaves_out() -> None:
    (pruned,) = re.findall(r'ARG PRUNED="(.*)"', RECIPE)
    prefixes = tuple(f"{folder.replace('/', '.')}." for folder in pruned.split())
    script = SCRIPT.replace("PREFIXES", repr(prefixes))
    command = [sys.executable, "-W", "ignore", "-c", script]
    path = {"PYTHONPATH": f"{CHECKOUT}/operator:{CHECKOUT}", "PATH": ""}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout == "runs\n", done.stderr[-2000:]
