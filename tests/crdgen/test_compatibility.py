"""What a definition no longer accepts is seen and named, and refused once it has been released."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anneal_operator.crdgen.__main__ import main
from anneal_operator.crdgen.compatibility import narrowings

CHECKOUT = Path(__file__).parents[2]
RELEASED = Path(__file__).parent / "released"
"""The definitions of the last release: it copies `crds` there. Nothing is released yet, so everything may change."""
TEXT = {"type": "string"}
ROWS = {"type": "integer", "minimum": 1, "maximum": 9}
CHOICE = {"type": "string", "enum": ["Full", "LoRA"]}
RULE = {"rule": "self.rows > 1", "message": "more rows, please"}


def _definition(spec: dict[str, Any], version: str = "v1alpha1", **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", **spec}}}
    served = {"name": version, "served": True, "schema": {"openAPIV3Schema": schema}}
    return {"spec": {"scope": "Namespaced", "versions": [served], **fields}}


def _field(**schema: Any) -> dict[str, Any]:
    return {"properties": {"it": schema}}


NARROWER = [
    (_field(**TEXT), {"properties": {}}, "spec.it: the field is gone"),
    (_field(**TEXT), {**_field(**TEXT), "required": ["it"]}, "spec.it: the field is required now"),
    (_field(**CHOICE), _field(type="string", enum=["Full"]), "spec.it: the value LoRA is gone"),
    (_field(**TEXT), _field(**CHOICE), "spec.it: any value became one of Full, LoRA"),
    (_field(**ROWS), _field(**ROWS | {"maximum": 8}), "spec.it: maximum 9 became 8"),
    (_field(**ROWS), _field(**ROWS | {"minimum": 2}), "spec.it: minimum 1 became 2"),
    (_field(type="integer"), _field(type="integer", minimum=0), "spec.it: minimum without bound became 0"),
    (_field(**TEXT), _field(**TEXT, maxLength=63), "spec.it: maxLength without bound became 63"),
    (_field(**TEXT), _field(**TEXT, minLength=1), "spec.it: minLength without bound became 1"),
    (_field(type="array", maxItems=4), _field(type="array", maxItems=3), "spec.it: maxItems 4 became 3"),
    (_field(**TEXT), _field(type="integer"), "spec.it: type string became integer"),
    (_field(**TEXT), _field(**TEXT, pattern="^a"), "spec.it: pattern of any kind became ^a"),
    (_field(**TEXT, nullable=True), _field(**TEXT), "spec.it: nullable is gone"),
    (
        _field(type="object", **{"x-kubernetes-preserve-unknown-fields": True}),
        _field(type="object"),
        "spec.it: x-kubernetes-preserve-unknown-fields is gone",
    ),
    ({}, {"x-kubernetes-validations": [RULE]}, "spec: the rule 'self.rows > 1' is new"),
    (_field(type="array", items=CHOICE), _field(type="array", items=TEXT | {"enum": ["Full"]}), "spec.it[]: the value"),
    (_field(additionalProperties=ROWS), _field(additionalProperties=ROWS | {"maximum": 1}), "spec.it{}: maximum 9"),
]


@pytest.mark.parametrize(("old", "new", "named"), NARROWER, ids=[named for _, _, named in NARROWER])
def test_what_shrinks_is_named(old: dict[str, Any], new: dict[str, Any], named: str) -> None:
    (only,) = narrowings(_definition(old), _definition(new))
    assert only.startswith(named)


@pytest.mark.parametrize(("new", "old", "named"), NARROWER, ids=[f"back: {named}" for _, _, named in NARROWER])
def test_what_grows_is_allowed(old: dict[str, Any], new: dict[str, Any], named: str) -> None:
    changed_either_way = ("spec.it: type string",)
    assert named.startswith(changed_either_way) or narrowings(_definition(old), _definition(new)) == []


def test_a_new_field_with_bounds_of_its_own_is_allowed() -> None:
    assert narrowings(_definition({"properties": {}}), _definition(_field(**ROWS))) == []


def test_a_version_that_is_no_longer_served_is_named() -> None:
    assert narrowings(_definition({}), _definition({}, version="v1")) == ["v1alpha1 is no longer served"]


def test_a_changed_scope_is_named() -> None:
    assert narrowings(_definition({}), _definition({}, scope="Cluster")) == ["the scope Namespaced became Cluster"]


@pytest.mark.parametrize("plural", ["abexperiments", "finetunejobs", "modelversions"])
def test_a_real_definition_is_as_wide_as_itself_and_its_shrinking_is_seen(plural: str) -> None:
    text = (CHECKOUT / f"crds/{plural}.yaml").read_text()
    old, new = yaml.safe_load(text), yaml.safe_load(text)
    assert narrowings(old, new) == []
    spec = new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    field = next(iter(spec["properties"]))
    del spec["properties"][field]
    assert f"spec.{field}: the field is gone" in narrowings(old, new)


def _no_longer_accepted(folder: Path) -> dict[str, list[str]]:
    """What our definitions refuse that those in this folder take, by their files."""
    both = [(file, yaml.safe_load((CHECKOUT / "crds" / file.name).read_text())) for file in sorted(folder.glob("*"))]
    told = {file.name: narrowings(yaml.safe_load(file.read_text()), current) for file, current in both}
    return {name: found for name, found in told.items() if found}


def test_what_was_released_is_still_accepted() -> None:
    assert _no_longer_accepted(RELEASED) == {}


def _widen(definition: Path) -> None:
    """Have it take a field that our models don't know."""
    wider = yaml.safe_load(definition.read_text())
    spec = wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["attic"] = TEXT
    definition.write_text(yaml.safe_dump(wider))


def test_a_field_of_a_release_that_is_gone_is_named(tmp_path: Path) -> None:
    for name in ("finetunejobs.yaml", "modelversions.yaml"):
        (tmp_path / name).write_text((CHECKOUT / "crds" / name).read_text())
    _widen(tmp_path / "modelversions.yaml")
    assert _no_longer_accepted(tmp_path) == {"modelversions.yaml": ["spec.attic: the field is gone"]}


def _commit(folder: Path) -> None:
    who = ("-c", "user.name=anneal", "-c", "user.email=anneal@example.com", "-c", "commit.gpgSign=false")
    for command in (("init", "--quiet"), ("add", "--all"), (*who, "commit", "--quiet", "--allow-empty", "-m", "x")):
        subprocess.run(["git", *command], check=True, cwd=folder)


def test_what_shrank_since_the_last_commit_or_in_it_is_told_and_nothing_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main([])
    _widen(tmp_path / "crds/modelversions.yaml")
    _commit(tmp_path)
    gone = "spec.attic: the field is gone\n"
    capsys.readouterr()
    assert main(["--check"]) == 1
    told = capsys.readouterr()
    assert told.out == f"modelversions: narrower than in HEAD: {gone}"
    assert told.err == "crds/modelversions.yaml is stale: run `make generate`\n"
    main([])
    _commit(tmp_path)
    capsys.readouterr()
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == f"modelversions: narrower than in HEAD~1: {gone}"
    _commit(tmp_path)
    assert (main(["--check"]), capsys.readouterr().out) == (0, "")
