"""Who may reach whom, as docs/router.md says it: asked of the policies themselves, and of real pods end to end."""

from collections.abc import Mapping
from typing import Any

import yaml

from .examples import GOLDEN
from .reachability import Pod

__all__ = ["EVERYBODY", "MAY", "MONITORING", "OTHER", "SYSTEM", "TEAM", "connections", "golden", "pod_template"]

Manifest = dict[str, Any]
TEAM, OTHER, SYSTEM, MONITORING = "team", "other", "anneal-system", "monitoring"


def golden(name: str) -> list[Manifest]:
    """What a golden file holds."""
    return list(yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()))


def pod_template(name: str) -> Manifest:
    """The template of the pods that a golden file's workload makes; the first of several."""
    template: Manifest = next(m["spec"]["template"] for m in golden(name) if m["kind"] in ("Deployment", "Job"))
    return template


def _labels(name: str) -> dict[str, str]:
    labels: dict[str, str] = pod_template(name)["metadata"]["labels"]
    return labels


_OPERATOR = {"app.kubernetes.io/name": "anneal-operator"}
EVERYBODY: Mapping[str, Pod] = {
    "router": Pod(TEAM, _labels("router")),
    "recorder": Pod(TEAM, _labels("recorder")),
    "scorer": Pod(TEAM, _labels("scorer")),
    "tasks": Pod(TEAM, _labels("tasks")),
    "engine": Pod(TEAM, _labels("serving")),
    "shared-engine": Pod(TEAM, _labels("serving-shared")),
    "fetcher": Pod(TEAM, _labels("weights-ahead")),
    "trainer": Pod(TEAM, _labels("training")),
    "stranger": Pod(TEAM, {}),
    "false-operator": Pod(TEAM, _OPERATOR),
    "others-router": Pod(OTHER, _labels("router")),
    "operator": Pod(SYSTEM, _OPERATOR),
    "mlflow": Pod(SYSTEM, {"app.kubernetes.io/name": "mlflow"}),
    "scraper": Pod(MONITORING, {}),
}
MAY: Mapping[tuple[str, int], set[str]] = {
    ("router", 8080): set(EVERYBODY),
    ("router", 8082): {"operator", "scraper"},
    ("recorder", 8081): {"router", "scorer", "operator"},
    ("tasks", 8083): {"router"},
    ("engine", 8000): {"router", "operator", "scraper"},
    ("shared-engine", 8000): {"router", "operator", "scraper"},
    ("fetcher", 8000): {"operator"},
}


def connections() -> list[tuple[str, str, int]]:
    """Everybody to every port, as source, target and port; nobody to itself."""
    return [(source, target, port) for target, port in MAY for source in EVERYBODY if source != target]
