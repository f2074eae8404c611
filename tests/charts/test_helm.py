"""The chart as Helm itself sees it: nothing to complain about, a misspelt value refused by name, and what is installed.

No cluster is needed, but the local cluster's Helm, which takes a minute to build where no cluster has been up: there
`make check` leaves these tests to `make test`.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anneal_operator.cluster.leader_label import LEADER_LABEL
from anneal_operator.desired.policies import PolicyEnvironment, policies
from anneal_operator.settings import Settings
from local_cluster.build import build
from local_cluster.layout import Layout
from local_cluster.parts import PARTS
from serving_runtime.plan import ADMIN_PORT

CHART = Path(__file__).parents[2] / "charts/anneal"
IMAGES = [f"--set=images.{name}=example/{name}" for name in ("operator", "trainer", "server", "router", "mlflow")]


@pytest.fixture(scope="module")
def helm() -> Path:
    """The program."""
    return build([part for part in PARTS if part.name == "helm"], Layout.of_node().cache)["helm"]


def _lint(helm: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [helm, "lint", "--strict", CHART, *IMAGES, *options]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def test_helm_lint_finds_nothing(helm: Path) -> None:
    done = _lint(helm)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("operator.replica=2", "at '/operator': additional properties 'replica' not allowed"),
        ("images.operater=example/operator", "at '/images': additional properties 'operater' not allowed"),
        ("operator.replicas=many", "at '/operator/replicas': got string, want integer"),
    ],
)
def test_helm_refuses_a_wrong_value_and_names_it(helm: Path, value: str, complaint: str) -> None:
    refused = _lint(helm, f"--set={value}")
    assert refused.returncode == 1
    assert complaint in refused.stdout


def _rendered(helm: Path, *options: str) -> list[dict[str, Any]]:
    command: list[str | Path] = [
        helm,
        "template",
        "anneal",
        CHART,
        "--namespace=system",
        "--kube-version=1.36",
        *IMAGES,
        *options,
    ]
    return list(yaml.safe_load_all(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def test_reports_go_to_the_leader_alone_and_every_replica_tells_its_metrics(helm: Path) -> None:
    by_name = {(made["kind"], made["metadata"]["name"]): made for made in _rendered(helm)}
    pod = by_name["Deployment", "anneal-operator"]["spec"]["template"]
    metrics, progress = (by_name["Service", f"anneal-{name}"]["spec"] for name in ("operator", "progress"))
    assert metrics["selector"].items() <= pod["metadata"]["labels"].items()
    assert progress["selector"] == {**metrics["selector"], LEADER_LABEL: "true"}
    assert [[port["name"] for port in service["ports"]] for service in (metrics, progress)] == [
        ["metrics"],
        ["progress"],
    ]
    environment = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    assert environment["ANNEAL_PROGRESS_HOST"] == "anneal-progress.system.svc"


def test_the_operator_may_end_pods_and_tell_them_of_changes_and_make_none_itself(helm: Path) -> None:
    """It may change the Deployments that pods come from, so a change of pods gives it no power that it lacked."""
    may = {
        made["kind"]: {verb for rule in made["rules"] if "pods" in rule["resources"] for verb in rule["verbs"]}
        for made in _rendered(helm)
        if made["kind"] in {"Role", "ClusterRole"}
    }
    assert may == {"Role": {"patch"}, "ClusterRole": {"get", "list", "watch", "patch", "delete"}}


def test_the_operator_may_read_and_change_the_secrets_that_are_its_own_alone(helm: Path) -> None:
    rules = [
        (made["kind"], rule.get("resourceNames"), rule["verbs"])
        for made in _rendered(helm)
        if made["kind"] in {"Role", "ClusterRole"}
        for rule in made["rules"]
        if "secrets" in rule["resources"]
    ]
    assert rules == [
        ("ClusterRole", None, ["create"]),
        ("ClusterRole", ["anneal-router"], ["get", "patch"]),
        ("Role", ["anneal-progress-tls"], ["get", "patch"]),
    ]


def test_policies_let_in_the_operator_s_pods_and_the_scrapers_that_are_named(helm: Path) -> None:
    scrapers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    by_name = {
        (made["kind"], made["metadata"]["name"]): made
        for made in _rendered(helm, f"--set-json=networkPolicies.scrapers={json.dumps(scrapers)}")
    }
    pod = by_name["Deployment", "anneal-operator"]["spec"]["template"]
    environment = {entry["name"]: entry.get("value") for entry in pod["spec"]["containers"][0]["env"]}
    told = PolicyEnvironment(environment["ANNEAL_NAMESPACE"], json.loads(environment["ANNEAL_SCRAPERS"]))
    guards = {made["metadata"]["name"]: made for made in policies("team", [], told)}
    router, engines, shared = (guards[f"anneal-{name}"] for name in ("router", "engines", "shared-engines"))
    admin = next(rule for rule in router["spec"]["ingress"] if rule["ports"][0]["port"] == ADMIN_PORT)
    assert admin["from"][0]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert admin["from"][1:] == engines["spec"]["ingress"][0]["from"][2:] == scrapers
    assert shared["spec"]["ingress"] == engines["spec"]["ingress"]


@pytest.mark.parametrize(
    ("option", "price"),
    [
        ("--set=operator.replicas=1", None),
        ("--set=pricePerGpuHour=2.5", 2.5),
        ("--set=pricePerGpuHour=3", 3.0),
        (
            '--set-json=pricePerGpuHour={"nvidia.com/gpu":2.5,"nvidia.com/mig-1g.10gb":0.4}',
            {"nvidia.com/gpu": 2.5, "nvidia.com/mig-1g.10gb": 0.4},
        ),
    ],
)
def test_the_operator_is_told_what_a_gpu_costs(
    helm: Path, option: str, price: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pod] = [
        made["spec"]["template"]["spec"]
        for made in _rendered(helm, option)
        if (made["kind"], made["metadata"]["name"]) == ("Deployment", "anneal-operator")
    ]
    for entry in pod["containers"][0]["env"]:
        monkeypatch.setenv(entry["name"], entry.get("value", "operator-1"))
    assert Settings().price_per_gpu_hour == price


@pytest.mark.parametrize(
    ("group", "kind"), [("leaderworkerset.x-k8s.io", "leaderworkersets"), ("keda.sh", "scaledobjects")]
)
def test_the_operator_may_make_what_others_bring_and_list_none_of_them(helm: Path, group: str, kind: str) -> None:
    by_name = {(made["kind"], made["metadata"]["name"]): made for made in _rendered(helm)}
    rules = by_name["ClusterRole", "anneal-operator"]["rules"]
    [rule] = [rule for rule in rules if kind in rule["resources"]]
    assert rule == {"apiGroups": [group], "resources": [kind], "verbs": ["get", "create", "patch", "delete"]}
