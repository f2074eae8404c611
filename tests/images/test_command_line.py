"""What the images' command line refuses before it builds."""

import pytest

from images.__main__ import main


def test_bases_without_a_place_for_the_suite_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "router", "--bases", "debian:trixie-slim"])
    assert "--bases must hold {suite}" in capsys.readouterr().err
