"""The Go toolchain comes from the package index where the machine has none that is recent enough."""

import subprocess
from pathlib import Path

import pytest

from local_cluster.build import build
from local_cluster.parts import PARTS
from local_cluster.toolchain import find_go


@pytest.mark.soak
@pytest.mark.parametrize("old", [None, "go1.19.8"], ids=["no Go", "Debian's Go"])
def test_without_a_recent_go_the_wheel_s_toolchain_builds_a_part(
    old: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    if old:
        (tmp_path / "go").write_text(f"#!/bin/sh\necho {old}\n")
        (tmp_path / "go").chmod(0o755)
    go = find_go(tmp_path / "cache")
    assert go.is_relative_to(tmp_path / "cache")
    said = subprocess.run([go, "version"], check=True, capture_output=True, text=True).stdout
    assert "go1.27" in said
    programs = build([part for part in PARTS if part.name == "pause"], tmp_path / "cache")
    assert programs["pause"].stat().st_size > 0
