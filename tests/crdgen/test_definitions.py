"""The generator writes what a CRD can hold, and refuses what it cannot, naming the field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from anneal_operator.api.resources import CUSTOM_RESOURCES, CustomResource
from anneal_operator.api.schema import Rule, Schema
from anneal_operator.crdgen.__main__ import main
from anneal_operator.crdgen.definitions import UnsupportedSchemaError, crd, generate, structural

_Short = Annotated[str, StringConstraints(max_length=9)]
_Patterned = Annotated[str, StringConstraints(pattern="^a$")]


class Inner(Schema):
    """Has defaults only."""

    size: int = Field(default=3, ge=1, le=9)
    """How many."""
    share: float = Field(default=0.5, ge=0.25, le=1.0)
    """How much."""


class Outer(Schema):
    """Holds others."""

    name: _Short
    """Its name,
    on two lines."""
    made: Inner = Field(default_factory=Inner)
    """Made when left out."""
    optional: Inner | None = None
    """Absent when left out."""
    rules: ClassVar = (Rule("self.name != 'x'", "another name, please", lambda outer: outer.name != "x"),)


def test_the_structural_schema_has_defaults_rules_and_descriptions() -> None:
    made = structural(Outer.model_json_schema(), "spec", bounded=True)
    assert made["properties"]["made"]["default"] == {"size": 3, "share": 0.5}
    assert "default" not in made["properties"]["optional"]
    assert made["properties"]["name"]["description"] == "Its name, on two lines."
    assert made["x-kubernetes-validations"] == [{"rule": "self.name != 'x'", "message": "another name, please"}]
    assert made["required"] == ["name"]


def test_a_fractional_bound_is_guarded_by_a_rule() -> None:
    share = structural(Inner.model_json_schema(), "spec", bounded=True)["properties"]["share"]
    assert share["x-kubernetes-validations"] == [
        {"rule": "self >= 0.25", "message": "should be greater than or equal to 0.25"}
    ]


def _model(annotation: Any, **field: Any) -> type[BaseModel]:
    from pydantic import create_model

    configuration = ConfigDict(title="Made")
    return create_model("Made", __config__=configuration, it=(annotation, Field(**field)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_model(str | int, description="d"), "spec.it: a CRD cannot hold `anyOf`"),
        (_model(int, gt=3, lt=5, description="d"), "spec.it: a CRD cannot hold `exclusiveMinimum`"),
        (_model(dict[_Patterned, _Short], max_length=3, description="d"), "spec.it: a CRD cannot hold `patternProp"),
        (_model(str, description="d"), "spec.it: it needs a bound (maxLength or enum)"),
        (_model(int, description="d"), "spec.it: it needs a bound (maximum)"),
        (_model(list[_Short], description="d"), "spec.it: it needs a bound (maxItems)"),
        (_model(list[str], max_length=3, description="d"), "spec.it[]: it needs a bound"),
        (_model(_Short), "spec.it: it needs a docstring"),
    ],
)
def test_what_a_crd_cannot_hold_is_refused_by_the_field_s_name(model: type[BaseModel], message: str) -> None:
    with pytest.raises(UnsupportedSchemaError) as caught:
        structural(model.model_json_schema(), "spec", bounded=True)
    assert message in str(caught.value)


def test_a_stale_file_fails_the_check_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "crds/modelversions.yaml").write_text("old")
    assert main(["--check"]) == 1
    assert "crds/modelversions.yaml is stale: run `make generate`" in capsys.readouterr().err


def test_the_reference_has_every_field_of_every_kind() -> None:
    page = next(text for path, text in generate(Path("/")).items() if path.name == "reference.md")
    for field in ("dataset.split.stratifyBy", "artifact.digest", "variants[].modelVersionRef.name", "decision.winner"):
        assert f"| `{field}` |" in page


def test_a_status_has_no_defaults_and_open_words() -> None:
    for resource in CUSTOM_RESOURCES:
        made = structural(resource.status.model_json_schema(), "status", bounded=False)
        assert "default" not in json.dumps(made["properties"]["observedGeneration"])
        assert not [path for path in _paths(made) if path.endswith(("phase.enum", "reason.enum", ".default"))]


def test_each_time_in_a_status_is_a_time_to_kubernetes_too() -> None:
    for resource in CUSTOM_RESOURCES:
        made = structural(resource.status.model_json_schema(), "status", bounded=False)
        times = {name: field for name, field in _fields(made) if name.endswith(("At", "Since", "Until", "Time"))}
        assert times
        assert {name: field.get("format") for name, field in times.items()} == dict.fromkeys(times, "date-time")


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from _fields(field)
        yield from _fields(field.get("items", {}))


def _paths(node: Any, path: str = "") -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        yield f"{path}.{name}"
        yield from _paths(value, f"{path}.{name}")


def test_every_list_says_what_becomes_of_it_when_several_appliers_write_it() -> None:
    for resource in CUSTOM_RESOURCES:
        found = [node for node in _nodes(crd(resource)["spec"]["versions"][0]["schema"]) if node.get("type") == "array"]
        assert found
        assert all("x-kubernetes-list-type" in node for node in found)


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    for value in node.values() if isinstance(node, dict) else ():
        if isinstance(value, dict):
            yield value
            yield from _nodes(value)


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_every_word_that_a_user_may_write_means_itself_in_yaml(resource: CustomResource) -> None:
    """kubectl reads YAML 1.1, where a bare `Off`, `On`, `Yes` or `No` is a boolean, which no enumeration takes."""
    schema = crd(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    words = [word for node in _nodes(schema) for word in node.get("enum", []) if isinstance(word, str)]
    assert words
    assert [yaml.safe_load(word) for word in words] == words
