"""Building and caching, with a `go` that is a shell script; the end-to-end tests use the real one."""

from pathlib import Path

import pytest

from local_cluster import build as subject
from local_cluster.build import build, built
from local_cluster.errors import BuildError
from local_cluster.parts import PARTS

PAUSE = next(part for part in PARTS if part.name == "pause")
COMPILES = 'while [ "$1" != -o ]; do shift; done; echo built >>"$CALLS"; echo program >"$2"'
FAILS = "for line in $(seq 60); do echo main.go:$line: undefined: x; done; exit 1"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file to which each run of the compiler adds a line."""
    calls = tmp_path / "calls"
    calls.touch()
    monkeypatch.setenv("CALLS", str(calls))
    return calls


def _use(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\n{script}\n")
    go.chmod(0o755)
    monkeypatch.setattr(subject, "find_go", lambda _: go)


def test_a_part_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Path) -> None:
    _use(COMPILES, tmp_path, monkeypatch)
    first = build([PAUSE], tmp_path / "cache")
    assert build([PAUSE], tmp_path / "cache") == first
    assert first["pause"].read_text() == "program\n"
    assert calls.read_text() == "built\n"


def test_a_failed_build_names_the_module_and_shows_the_compiler_s_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(FAILS, tmp_path, monkeypatch)
    with pytest.raises(BuildError) as failure:
        build([PAUSE], tmp_path / "cache")
    message = str(failure.value)
    assert "building pause failed" in message
    assert str(PAUSE.source / "go.mod") in message
    assert "main.go:60: undefined: x" in message
    assert "main.go:1: undefined" not in message


def test_a_failed_build_leaves_no_result_and_the_next_one_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: Path
) -> None:
    _use(FAILS, tmp_path, monkeypatch)
    with pytest.raises(BuildError):
        build([PAUSE], tmp_path / "cache")
    assert built(PAUSE, tmp_path / "cache") is None
    _use(COMPILES, tmp_path, monkeypatch)
    build([PAUSE], tmp_path / "cache")
    assert built(PAUSE, tmp_path / "cache") is not None
    assert calls.read_text() == "built\n"
