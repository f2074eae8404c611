"""The operator as a process of this machine, outside the cluster: what it is called by, and told."""

import sys
from pathlib import Path

__all__ = ["OPERATOR", "operator_environment"]

_CHECKOUT = Path(__file__).resolve().parents[1]
OPERATOR = [sys.executable, "-m", "anneal_operator"]


def operator_environment(namespace: str) -> dict[str, str]:
    """Settings of an operator that starts no container and meets no MLflow; KUBECONFIG is the caller's to add."""
    settings = {
        "NAMESPACE": namespace,
        "IDENTITY": "outside",
        "TRAINER_IMAGE": "trainer",
        "SERVER_IMAGE": "server",
        "ROUTER_IMAGE": "router",
        "MLFLOW_URL": "http://127.0.0.1:9",
        "PROGRESS_HOST": "localhost",
    }
    environment = {f"ANNEAL_{name}": value for name, value in settings.items()}
    return environment | {"PYTHONPATH": f"{_CHECKOUT / 'operator'}:{_CHECKOUT}"}
