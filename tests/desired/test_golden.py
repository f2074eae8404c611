"""What the builders make, against golden files: a change of any manifest shows in the diff."""

import re

import pytest
import yaml

from .examples import EXAMPLES, GOLDEN, text


@pytest.mark.parametrize("name", EXAMPLES)
def test_manifests_are_as_the_golden_file_says(name: str) -> None:
    assert text(name) == (GOLDEN / f"{name}.yaml").read_text(), "python -m tests.desired.examples writes them anew"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_pod_obeys_the_restricted_standard(name: str) -> None:
    for document in EXAMPLES[name]():
        pod = document.get("spec", {}).get("template", {}).get("spec")
        if pod is None:
            continue
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            context = container["securityContext"]
            assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_only_the_router_s_agent_holds_a_token() -> None:
    for name in EXAMPLES:
        for document in EXAMPLES[name]():
            pod = document.get("spec", {}).get("template", {}).get("spec", {})
            if "containers" in pod and pod.get("serviceAccountName") is None:
                assert pod["automountServiceAccountToken"] is False


def test_every_child_goes_with_its_owner_but_versions_keys_and_what_users_said_stay() -> None:
    for name in EXAMPLES:
        for document in EXAMPLES[name]():
            owned = "ownerReferences" in document["metadata"]
            kind = document["kind"]
            stays = kind in {"ModelVersion", "Secret"} or (name, kind) == ("recorder", "PersistentVolumeClaim")
            assert owned is not stays


def test_names_fit_the_longest_name_that_the_api_allows() -> None:
    longest = 40 + max(len(suffix) for suffix in ("-workspace", "-evaluate", "-server", "-plan"))
    assert longest <= 63 - len("-xxxxx"), "a Job's pods add a dash and five letters"
    for name in EXAMPLES:
        for document in yaml.safe_load_all((GOLDEN / f"{name}.yaml").read_text()):
            assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", document["metadata"]["name"])
