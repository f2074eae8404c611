"""What a user's pod template adds to a pod of ours."""

from typing import Any

from anneal_operator.api.pods import PodTemplate
from serving_runtime.plan import PROXY_VARIABLES

from .pods import Manifest

__all__ = ["placement", "with_wishes"]


def with_wishes(template: Manifest, wanted: PodTemplate) -> Manifest:
    """Return a pod template of ours, of one container, with a user's wishes.

    Of labels and annotations ours win, which selectors and the operator rely on; of variables the user's, which cannot
    be those that matter.
    """
    metadata: Manifest = dict(template["metadata"])
    for name, given in (("labels", wanted.labels), ("annotations", wanted.annotations)):
        if given:
            metadata[name] = {**given, **metadata.get(name, {})}
    spec: Manifest = dict(template["spec"])
    chosen = {_one_name(variable.name) for variable in wanted.env}
    [made] = spec["containers"]
    kept = [variable for variable in made["env"] if _one_name(variable["name"]) not in chosen]
    spec["containers"] = [{**made, "env": [*kept, *(variable.dump() for variable in wanted.env)]}]
    return {**template, "metadata": metadata, "spec": {**spec, **placement(wanted, spec.get("tolerations", []))}}


def _one_name(variable: str) -> str:
    """A variable's name; those of proxies are the same in small letters, which would win."""
    return variable.upper() if variable.upper() in PROXY_VARIABLES else variable


def placement(wanted: PodTemplate, tolerations: list[Manifest]) -> Manifest:
    """Where a pod may run, and as whom; `tolerations` are those that it has anyhow."""
    made: dict[str, Any] = {
        "nodeSelector": wanted.node_selector,
        "tolerations": [*(toleration.dump() for toleration in wanted.tolerations), *tolerations],
        "affinity": wanted.affinity.dump() if wanted.affinity else None,
        "priorityClassName": wanted.priority_class_name,
        "schedulerName": wanted.scheduler_name,
        "serviceAccountName": wanted.service_account_name,
        "imagePullSecrets": [secret.dump() for secret in wanted.image_pull_secrets],
    }
    return {name: value for name, value in made.items() if value}
