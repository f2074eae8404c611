"""Which artifacts an installation serves."""

import pytest

from anneal_operator.decide.sources import source_refusal

ALLOWED = ["mlflow-artifacts:/", "s3://models/"]


@pytest.mark.parametrize(
    ("uri", "is_served"),
    [
        ("mlflow-artifacts:/1/r/artifacts/model", True),
        ("s3://models/spam", True),
        ("s3://models-of-others/spam", False),
        ("pvc://models/spam", False),
        ("oci://registry/s3://models/", False),
    ],
)
def test_an_address_has_to_begin_as_the_installation_says(uri: str, is_served: bool) -> None:
    assert (source_refusal({"artifact.uri": uri}, ALLOWED) == "") == is_served


def test_a_refusal_names_the_field_what_is_served_and_the_remedy() -> None:
    said = source_refusal({"artifact.uri": "pvc://models/spam"}, ALLOWED)
    assert said == (
        "`artifact.uri` is pvc://models/spam, and this installation serves one that begins with mlflow-artifacts:/ or "
        "s3://models/: create the version with such an artifact, or have the chart's `server.sources` allow this one"
    )
    assert "serves none: create" in source_refusal({"artifact.uri": "pvc://models/spam"}, [])


def test_all_that_its_pods_read_has_to_begin_so() -> None:
    uris = {"artifact.uri": "mlflow-artifacts:/1/a", "artifact.base.uri": "mlflow-artifacts:/2/b"}
    assert source_refusal(uris, ALLOWED) == ""
    assert source_refusal(uris, ["mlflow-artifacts:/1/"]).startswith(
        "`artifact.base.uri` is mlflow-artifacts:/2/b, and"
    )
