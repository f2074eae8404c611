"""The router image's nginx with its Lua on this machine: `python -m tools.nginx` brings it into the cache.

The packages are those that images/router/Dockerfile installs, of the same Debian, with all that they stand on down to
their C library. They are unpacked beside each other and run by their own loader: neither root nor another root file
system is needed, and nothing of the machine's own is changed. Packages that are there are not asked about again.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from toolbox.commands import CommandError, run
from toolbox.debian import mirror, security_mirror
from toolbox.locks import exclusive

__all__ = ["PACKAGES", "SUITE", "Nginx", "bring", "installed", "main"]

SUITE = "trixie"
PACKAGES = ("libnginx-mod-http-lua", "lua-cjson", "luajit", "nginx")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_MIRROR, _SECURITY_MIRROR = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class Nginx:
    """Where it was unpacked."""

    root: Path

    @property
    def modules(self) -> Path:
        """The folder of nginx's modules."""
        return self.root / "usr/lib/nginx/modules"

    @property
    def environment(self) -> Mapping[str, str]:
        """Where Lua finds what is unpacked."""
        shared, libraries = self.root / "usr/share", self.root / _LIBRARIES
        scripts = f"{shared}/lua/5.1/?.lua;{shared}/lua/5.1/?/init.lua;{shared}/luajit-2.1/?.lua;;"
        return {"LUA_PATH": scripts, "LUA_CPATH": f"{libraries}/lua/5.1/?.so;;"}

    def command(self, program: str = "usr/sbin/nginx") -> list[str]:
        """How one of its programs is called."""
        loader = str(self.root / _LIBRARIES / "ld-linux-x86-64.so.2")
        return [loader, "--library-path", str(self.root / _LIBRARIES), str(self.root / program)]


def installed() -> Nginx:
    """Return it; raise CommandError where it was not brought here."""
    place = _place(_cache())
    if not place.is_dir():
        raise CommandError("the router's nginx is not on this machine: bring it with `python -m tools.nginx`")
    return Nginx(place)


def bring() -> None:
    """Bring it here where it is not; raise CommandError where that fails."""
    cache = _cache()
    place = _place(cache)
    with exclusive(cache / "locks" / "nginx"):
        if not place.is_dir():
            print(f"bringing Debian {SUITE}'s nginx with Lua into {place}", flush=True)
            _unpack(place)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anneal"


def _place(cache: Path) -> Path:
    recipe = hashlib.sha256(repr((SUITE, PACKAGES)).encode()).hexdigest()[:16]
    return cache / "programs" / f"nginx-{recipe}"


def _unpack(place: Path) -> None:
    unfinished = place.with_name(f"{place.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    apt, root = unfinished / "apt", unfinished / "root"
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "status").touch()
    sources = (f"{mirror() or _MIRROR} {SUITE}", f"{security_mirror() or _SECURITY_MIRROR} {SUITE}-security")
    (apt / "sources.list").write_text("".join(f"deb [signed-by={_KEYRING}] {source} main\n" for source in sources))
    command = ["apt-get", "-qq", *(word for option in _options(apt) for word in ("-o", option))]
    run([*command, "update"], timeout=300.0)
    run([*command, "install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES], timeout=300.0)
    for package in sorted((apt / "archives").glob("*.deb")):
        run(["dpkg-deb", "--extract", package, root])
    shutil.rmtree(apt)
    root.rename(place)
    unfinished.rmdir()


def _options(apt: Path) -> list[str]:
    """A Debian of its own, in which nothing is installed yet."""
    return [
        f"Dir::State={apt}",
        f"Dir::State::status={apt}/status",
        f"Dir::Cache={apt}",
        f"Dir::Etc::SourceList={apt}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        "Dir::Etc::Preferences=/dev/null",
        "Dir::Etc::PreferencesParts=/dev/null",
        "APT::Default-Release=",
        "APT::Architecture=amd64",
        "APT::Architectures=amd64",
        "APT::Sandbox::User=",
        "Acquire::Languages=none",
        "Debug::NoLocking=true",
    ]


def main() -> int:
    """Bring it here; return the exit status."""
    try:
        bring()
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
