"""The tests run the router's image's own nginx: the same packages, of the same Debian."""

import os
import subprocess
from pathlib import Path

import pytest

from images.catalogue import BY_NAME
from toolbox.commands import CommandError
from tools import nginx


def test_its_packages_are_those_of_the_image() -> None:
    image = BY_NAME["router"]
    assert BY_NAME[image.parent].parent == nginx.SUITE
    (line,) = (line for line in image.dockerfile.read_text().splitlines() if "apt-get install" in line)
    assert {*nginx.PACKAGES} == {*line.split("--no-install-recommends ")[1].split(" \\")[0].split(), "luajit"}


def test_it_says_its_version_and_finds_its_modules() -> None:
    brought = nginx.installed()
    told = subprocess.run([*brought.command(), "-v"], check=True, capture_output=True, text=True)
    assert told.stderr.startswith("nginx version: nginx/1.26.")
    assert (brought.modules / "ngx_http_lua_module.so").exists()


def test_a_test_brings_nothing_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CommandError, match=r"bring it with `python -m tools.nginx`"):
        nginx.installed()


def test_the_machine_s_own_release_and_preferences_mean_nothing_to_it(tmp_path: Path) -> None:
    own = tmp_path / "apt.conf"
    own.write_text(
        'APT::Default-Release "bookworm"; Dir::Etc::Preferences "/own"; Dir::Etc::PreferencesParts "/own.d";'
    )
    options = [word for option in nginx._options(tmp_path) for word in ("-o", option)]  # noqa: SLF001
    command = ["apt-config", *options, "dump", "--format=%f=%v%n"]
    told = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "APT_CONFIG": str(own)}
    )
    said = dict(line.lower().partition("=")[::2] for line in told.stdout.splitlines())
    assert said["apt::default-release"] == ""
    assert said["dir::etc::preferences"] == said["dir::etc::preferencesparts"] == "/dev/null"
