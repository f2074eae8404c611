"""The tests run the router's image's own nginx: the same packages, of the same Debian."""

import subprocess

from images.catalogue import BY_NAME
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
