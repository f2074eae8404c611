"""A namespace's scorer: what answers are worth to the experiments that measure that, found beside the way of requests.

A workload of its own, there while an experiment asks for it: it keeps nothing but in memory, so it may end at any time,
and what it was about to score is not scored. What it scores stands in a ConfigMap; another makes another pod.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anneal_operator.api.pods import ResourceRequirements
from anneal_operator.api.resources import OWNER_ANNOTATION
from anneal_operator.api.route import Split
from serving_runtime.plan import ADMIN_KEY_VARIABLE, RECORDER_PORT
from serving_runtime.scoring import SCORER_FOLDER, SCORER_PORT, SCORING_FILE, ScoredMetric, ScoringPlan

from .keys import KEYS_ANNOTATION, Keys, key_variable
from .pods import Manifest, container, host_of, labels, owned_by_all, pod_security, scratch_volume
from .recorder import RECORDER_LABEL
from .serving import digest_of

__all__ = ["SCORER", "SCORER_LABEL", "ScorerEnvironment", "scored_experiments", "scorer_objects"]

SCORER = "anneal-scorer"
SCORER_LABEL = {"anneal.dev/component": "scorer"}
_PLAN_ANNOTATION = "anneal.dev/scoring"


@dataclass(frozen=True)
class ScorerEnvironment:
    """What the installation and the namespace give the scorer."""

    image: str
    pull_policy: str
    recorder: str
    """The address of the recorder's Service: no name server is needed."""
    routers: Mapping[str, str]
    """The labels of the routers' pods, who alone hand answers on."""
    keys: Keys


def scored_experiments(splits: Iterable[Split]) -> dict[str, list[ScoredMetric]]:
    """Return what is scored of the experiments that split clients now, by their uids; nothing while a winner bakes."""
    return {
        split.uid: split.spec.metrics.scored
        for split in splits
        if split.spec.type != "Shadow" and not split.baking and split.spec.metrics.scored
    }


def scorer_objects(
    namespace: str,
    owners: Sequence[Manifest],
    experiments: Mapping[str, Sequence[ScoredMetric]],
    env: ScorerEnvironment,
) -> list[Manifest]:
    """Return everything a scorer needs."""
    plan = ScoringPlan(
        recorder=f"http://{host_of(env.recorder)}:{RECORDER_PORT}",
        experiments={uid: list(metrics) for uid, metrics in sorted(experiments.items())},
    ).model_dump_json(indent=1)
    metadata: Manifest = {
        "namespace": namespace,
        "name": SCORER,
        "labels": labels("scorer", SCORER),
        "annotations": {OWNER_ANNOTATION: SCORER},
        "ownerReferences": owned_by_all(owners),
    }
    ports = [{"name": "http", "port": SCORER_PORT, "targetPort": "http"}]
    service = {"selector": SCORER_LABEL, "ports": ports}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {SCORING_FILE: plan}},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": _policy(env.routers),
        },
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": _deployment(env, plan)},
    ]


def _policy(routers: Mapping[str, str]) -> Manifest:
    """It is asked by routers, and asks the recorder: nobody else hears of what people wrote."""
    asked = {"from": [{"podSelector": {"matchLabels": dict(routers)}}], "ports": [_port(SCORER_PORT)]}
    asks = {"to": [{"podSelector": {"matchLabels": RECORDER_LABEL}}], "ports": [_port(RECORDER_PORT)]}
    types = ["Ingress", "Egress"]
    return {"podSelector": {"matchLabels": SCORER_LABEL}, "policyTypes": types, "ingress": [asked], "egress": [asks]}


def _port(number: int) -> Manifest:
    return {"protocol": "TCP", "port": number}


def _deployment(env: ScorerEnvironment, plan: str) -> Manifest:
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": SCORER_LABEL},
        "template": {
            "metadata": {
                "labels": {**labels("scorer", SCORER), **SCORER_LABEL},
                "annotations": {KEYS_ANNOTATION: env.keys.of_recorder(), _PLAN_ANNOTATION: digest_of(plan)},
            },
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 10,
                "securityContext": pod_security(),
                "containers": [_container(env)],
                "volumes": [scratch_volume(), {"name": "scoring", "configMap": {"name": SCORER}}],
            },
        },
    }


def _container(env: ScorerEnvironment) -> Manifest:
    resources = ResourceRequirements(requests={"cpu": "50m", "memory": "512Mi"})
    arguments = ["-m", "serving_runtime.scorer", "--port", str(SCORER_PORT)]
    arguments += ["--plan", f"{SCORER_FOLDER}/{SCORING_FILE}"]
    made = container("scorer", env.image, env.pull_policy, arguments, resources)
    made["env"] = [*made["env"], key_variable(ADMIN_KEY_VARIABLE)]
    made["ports"] = [{"name": "http", "containerPort": SCORER_PORT}]
    made["volumeMounts"].append({"name": "scoring", "mountPath": SCORER_FOLDER, "readOnly": True})
    probe = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 5}
    made["readinessProbe"] = {**probe, "periodSeconds": 2}
    made["livenessProbe"] = {**probe, "periodSeconds": 10, "failureThreshold": 6}
    return made
