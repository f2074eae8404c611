"""An engine that several nodes share is what LeaderWorkerSet takes, and clients come to its leader alone.

`leaderworkerset-0.7.0.json` is the spec of a LeaderWorkerSet in its v0.7.0, without ephemeral containers, and takes no
other fields.
"""

import json
from pathlib import Path
from typing import Any

import jsonschema

from anneal_operator.desired.serving import VERSION_LABEL, WORKER_LABEL

from .connections import golden

SCHEMA = json.loads((Path(__file__).parent / "leaderworkerset-0.7.0.json").read_text())
GROUP, SERVICE = golden("serving-group")
TEMPLATES: dict[str, Any] = GROUP["spec"]["leaderWorkerTemplate"]
LEADER, WORKER = TEMPLATES["leaderTemplate"], TEMPLATES["workerTemplate"]


def test_leader_worker_set_takes_it() -> None:
    assert GROUP["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    jsonschema.validate(GROUP["spec"], SCHEMA)


def test_it_is_not_called_as_the_service_whose_name_it_takes_for_its_own() -> None:
    assert GROUP["metadata"]["name"] != SERVICE["metadata"]["name"]


def test_clients_come_to_the_leader_alone() -> None:
    chosen = SERVICE["spec"]["selector"].items()
    assert chosen <= LEADER["metadata"]["labels"].items()
    assert not chosen & WORKER["metadata"]["labels"].items()
    assert WORKER["metadata"]["labels"][WORKER_LABEL] == LEADER["metadata"]["labels"][VERSION_LABEL]


def test_a_worker_is_as_its_leader_but_for_a_server_and_ends_after_it() -> None:
    [leader], [worker] = LEADER["spec"]["containers"], WORKER["spec"]["containers"]
    assert worker["args"] == leader["args"]
    assert worker["resources"] == leader["resources"]
    served = {"ports", "startupProbe", "readinessProbe", "livenessProbe"}
    assert leader.keys() - worker.keys() == served
    assert {variable["name"] for variable in leader["env"]} - {variable["name"] for variable in worker["env"]} == {
        "ANNEAL_ENGINE_KEY"
    }
    follows, leaves = (one["lifecycle"]["preStop"]["exec"]["command"] for one in (worker, leader))
    assert (follows[2], leaves[2]) == ("serving_runtime.follow", "serving_runtime.leave")
    assert {name: part for name, part in LEADER["spec"].items() if name != "containers"} == {
        name: part for name, part in WORKER["spec"].items() if name != "containers"
    }


def test_a_group_obeys_the_restricted_standard() -> None:
    for pod in (LEADER["spec"], WORKER["spec"]):
        assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False)
        for container in (*pod["initContainers"], *pod["containers"]):
            context = container["securityContext"]
            assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
