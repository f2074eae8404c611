"""Where this machine has its Debian from."""

from .commands import run

__all__ = ["mirror", "security_mirror"]


def mirror() -> str | None:
    """The mirror that the machine's own apt uses; None where it is no Debian."""
    return next((uri for uri, suite in _targets() if "security" not in suite), None)


def security_mirror() -> str | None:
    """The same, of security updates."""
    return next((uri for uri, suite in _targets() if "security" in suite), None)


def _targets() -> list[tuple[str, str]]:
    said = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(SUITE) $(ORIGIN)"])
    fields = [line.split(maxsplit=2) for line in said.splitlines()]
    return [(uri, suite) for uri, suite, *origin in fields if origin == ["Debian"]]
