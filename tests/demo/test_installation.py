"""What is cleaned up, in which order."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from demo.commands import Commands
from demo.installation import SYSTEM, Installation
from local_cluster.layout import Layout

SCRIPT = """#!/bin/sh
echo "${0##*/} $*" >> "$SAID"
"""


def test_pods_end_before_their_namespace_and_the_operator_before_what_it_would_make_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = replace(Layout.of_control_plane(), state=tmp_path)
    layout.bin.mkdir()
    for name in ("kubectl", "helm"):
        (layout.bin / name).write_text(SCRIPT)
        (layout.bin / name).chmod(0o755)
    monkeypatch.setenv("SAID", os.fspath(tmp_path / "said"))
    Installation(Commands(layout), "spam").clean()
    every = "--all --ignore-not-found --wait=true"
    said = (tmp_path / "said").read_text().replace(f" --kubeconfig={layout.kubeconfig}", "")
    assert said.splitlines() == [
        f"helm uninstall anneal -n {SYSTEM} --ignore-not-found --wait --cascade=foreground",
        *(
            line
            for namespace in ("spam", SYSTEM)
            for line in (
                f"kubectl --namespace={namespace} delete deployments,statefulsets,jobs {every} --cascade=foreground",
                f"kubectl --namespace={namespace} delete pods {every}",
            )
        ),
        f"kubectl delete namespace spam {SYSTEM} --ignore-not-found --wait=true",
    ]
