"""Which mirrors a machine's own apt uses."""

import pytest

from toolbox import debian

OTHERS = "https://other.example/ubuntu noble Ubuntu\nhttps://other.example/node nodistro . nodistro\n"
MIRRORED = f"""{OTHERS}http://near.example/debian-security/ oldstable-security Debian
http://near.example/debian/ oldstable Debian"""


@pytest.mark.parametrize(
    ("said", "mirrors"),
    [
        (MIRRORED, ("http://near.example/debian/", "http://near.example/debian-security/")),
        (OTHERS, (None, None)),
        ("", (None, None)),
    ],
)
def test_a_debian_s_own_mirrors_are_told(
    monkeypatch: pytest.MonkeyPatch, said: str, mirrors: tuple[str | None, str | None]
) -> None:
    monkeypatch.setattr(debian, "run", lambda _: said)
    assert (debian.mirror(), debian.security_mirror()) == mirrors
