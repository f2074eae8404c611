"""Engines that several nodes share: a LeaderWorkerSet in the place of a Deployment.

A group of pods is one engine: the leader is as a Deployment's pod, and the Service leads to it alone. The others have
its weights, some of its layers, and no server.
"""

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.serving import Serving
from serving_runtime.plan import ENGINE_KEY_VARIABLE

from .keys import KEYS_ANNOTATION
from .operations import Operation, Patch
from .pod_wishes import with_wishes
from .pods import Manifest
from .serving import (
    BUILD_ANNOTATION,
    ENGINE_PORT,
    GROUP_LABEL,
    MARGIN_SECONDS,
    ROLLOUTS,
    VERSION_LABEL,
    WISH_ANNOTATION,
    WORKER_LABEL,
    ServingEnvironment,
    deployment,
    engine_pod,
    metadata_of,
    plan_of,
    runs,
    server_name,
    wish_of,
)

__all__ = ["leader_worker_set", "scaled", "workload", "workload_kind", "workload_name"]


def workload_kind(nodes: int) -> str:
    """Return what an engine is made of that so many nodes share."""
    return "Deployment" if nodes == 1 else "LeaderWorkerSet"


def workload_name(version: str, nodes: int) -> str:
    """Return what that is called. A group is not called as our Service: it has one of its own of its name, by which
    pods find their leader.
    """
    return server_name(version) if nodes == 1 else f"{version}-group"


def scaled(parent: Manifest, serving: Serving, replicas: int) -> Operation:
    """Another number of engines, which stay as they are."""
    name = workload_name(parent["metadata"]["name"], serving.nodes)
    return Patch(workload_kind(serving.nodes), name, {"spec": {"replicas": replicas}})


def workload(
    parent: Manifest,
    spec: ModelVersionSpec,
    serving: Serving,
    replicas: int,
    env: ServingEnvironment,
    *,
    startup_seconds: int,
) -> Manifest:
    """What serves a version: a Deployment, or a group of pods for each engine where several nodes share one."""
    if serving.nodes == 1:
        return deployment(parent, spec, serving, replicas, env, startup_seconds=startup_seconds)
    plan, group = plan_of(parent["metadata"]["name"], spec, serving, env), ["--nodes", str(serving.nodes)]
    pod = engine_pod(spec.weights, plan, serving, env, *group, startup_seconds=startup_seconds)
    return leader_worker_set(metadata_of(parent), pod, serving, replicas, env)


def leader_worker_set(
    metadata: Manifest, pod: Manifest, serving: Serving, replicas: int, env: ServingEnvironment
) -> Manifest:
    """Groups of a leader, which is as a Deployment's pod, and of workers, which no client is sent to.

    A group is made anew with all of its pods where one of them ends: the others cannot go on without it.
    """
    marked = {KEYS_ANNOTATION: env.keys.of_engine()}
    made_of = {BUILD_ANNOTATION: env.build, WISH_ANNOTATION: wish_of(serving, env.keys), **marked}
    version = metadata["labels"][VERSION_LABEL]
    leaders = {**metadata["labels"], GROUP_LABEL: version}
    workers = {name: value for name, value in leaders.items() if name != VERSION_LABEL} | {WORKER_LABEL: version}
    leader = {"metadata": {"labels": leaders, "annotations": made_of}, "spec": pod}
    worker = {"metadata": {"labels": workers, "annotations": made_of}, "spec": _follower(pod)}
    strategy = {"type": "RollingUpdate", "rollingUpdateConfiguration": ROLLOUTS[serving.rollout]}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {
            **metadata,
            "name": workload_name(version, serving.nodes),
            "annotations": {**metadata.get("annotations", {}), **made_of},
        },
        "spec": {
            "replicas": replicas,
            "rolloutStrategy": strategy,
            "startupPolicy": "LeaderCreated",
            "leaderWorkerTemplate": {
                "size": serving.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": with_wishes(leader, serving.pod_template),
                "workerTemplate": with_wishes(worker, serving.pod_template),
            },
        },
    }


def _follower(pod: Manifest) -> Manifest:
    """The same pod without a server: nobody asks it anything, and it ends after its leader."""
    [engine] = pod["containers"]
    unasked = {"ports", "startupProbe", "readinessProbe", "livenessProbe"}
    kept = {name: value for name, value in engine.items() if name not in unasked}
    kept["env"] = [variable for variable in engine["env"] if variable["name"] != ENGINE_KEY_VARIABLE]
    seconds = pod["terminationGracePeriodSeconds"] - MARGIN_SECONDS
    kept["lifecycle"] = runs("serving_runtime.follow", "--port", str(ENGINE_PORT), "--seconds", str(seconds))
    return {**pod, "containers": [kept]}
