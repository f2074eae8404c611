"""What brings a version's weights to its claim while its pods wait for a node: a Job, without GPUs, on any node.

The pods' own containers then find them there, or wait for it where it holds the lock. It goes when a pod has a node,
and another takes its place where it would be made otherwise by now.
"""

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.pods import PodTemplate, ResourceRequirements
from anneal_operator.api.serving import Serving

from .pod_wishes import placement
from .pods import Manifest, controller_of, labels, pod_security, scratch_volume
from .serving import BUILD_ANNOTATION, ENGINE_PORT, WISH_ANNOTATION, ServingEnvironment, plan_of, wish_of
from .weights import authorities_volumes, downloader

__all__ = ["CLAIM_ANNOTATION", "FETCH_LABEL", "fetch_job", "fetch_name"]

FETCH_LABEL = "anneal.dev/weights-of"
"""On the Job and its pod: the version's name. They are none of its engines, so they lack that label."""
CLAIM_ANNOTATION = "anneal.dev/claim"
"""On the Job: the claim that it brings them to."""
_GRACE_SECONDS = 10
_RESTARTS = 1_000_000
"""More than there will be, the kubelet's pauses being what they are: a source may be away for days."""


_OF_IMAGES = ("kubernetes.io/arch", "kubernetes.io/os")
"""Labels of nodes that say what programs run there."""


def fetch_name(version: str) -> str:
    """The Job of a version."""
    return f"{version}-weights"


def fetch_job(parent: Manifest, spec: ModelVersionSpec, serving: Serving, env: ServingEnvironment) -> Manifest:
    """The Job for a version whose `serving.cache` names a claim."""
    name = parent["metadata"]["name"]
    own = {FETCH_LABEL: name}
    wanted = serving.pod_template
    metadata: Manifest = {"labels": {**wanted.labels, **labels("weights", name), **own}}
    if wanted.annotations:
        metadata["annotations"] = wanted.annotations
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": fetch_name(name),
            "namespace": parent["metadata"]["namespace"],
            "labels": {**labels("weights", name), **own},
            "annotations": {
                CLAIM_ANNOTATION: serving.cache.claim_name if serving.cache else "",
                BUILD_ANNOTATION: env.build,
                WISH_ANNOTATION: wish_of(serving, env.keys),
            },
            "ownerReferences": [controller_of(parent)],
        },
        "spec": {
            "backoffLimit": _RESTARTS,
            "template": {"metadata": metadata, "spec": _pod(name, spec, serving, env)},
        },
    }


def _pod(name: str, spec: ModelVersionSpec, serving: Serving, env: ServingEnvironment) -> Manifest:
    plan = plan_of(name, spec, serving, env).model_dump_json()
    modest = ResourceRequirements()
    volumes, brings = downloader(spec.weights, serving, env.downloading, plan, ENGINE_PORT, modest)
    return {
        "restartPolicy": "OnFailure",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": pod_security(),
        "containers": [{**brings, "ports": [{"name": "http", "containerPort": ENGINE_PORT}]}],
        "volumes": [scratch_volume(), *volumes, *authorities_volumes(env.authorities)],
        **placement(_anywhere(serving.pod_template), []),
    }


def _anywhere(wanted: PodTemplate) -> PodTemplate:
    """What people wish, but for the nodes, which are those that there is no room on: any that the image runs on."""
    kept = {name: value for name, value in wanted.node_selector.items() if name in _OF_IMAGES}
    return wanted.model_copy(update={"node_selector": kept, "affinity": None})
