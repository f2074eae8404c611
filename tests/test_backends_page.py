"""What the page on backends shows is accepted, and its reasons are all that there are."""

import textwrap
from pathlib import Path

import yaml

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.reasons import Reason

PAGE = (Path(__file__).parents[1] / "docs/backends.md").read_text(encoding="utf-8")


def test_its_manifests_are_accepted() -> None:
    shown = PAGE[PAGE.index("    apiVersion") : PAGE.index("`url` is what clients")]
    versions = list(yaml.safe_load_all(textwrap.dedent(shown)))
    assert [version["kind"] for version in versions] == ["ModelVersion"] * 2
    backends = [ModelVersionSpec.parse(version["spec"]).backend for version in versions]
    assert [backend.address for backend in backends if backend] == [
        "https://api.example.com/v1",
        "http://support-predictor:80/openai/v1",
    ]


def test_every_reason_of_a_backend_is_on_it() -> None:
    reasons = [reason for reason in Reason if reason.startswith("Backend")]
    assert reasons
    assert [reason for reason in reasons if f"| `{reason}` |" not in PAGE] == []
