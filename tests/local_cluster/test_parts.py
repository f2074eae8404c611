"""The pinned parts and the keys they are cached under."""

import re
import shutil
from pathlib import Path

import pytest

from local_cluster import parts
from local_cluster.parts import KUBE_ROUTER, PARTS

EVERY = (*PARTS, KUBE_ROUTER)
BY_NAME = {part.name: part for part in EVERY}


@pytest.mark.parametrize("part", [p for p in EVERY if p.version_of], ids=lambda part: part.name)
def test_a_part_has_a_pinned_version_and_checksums(part: parts.Part) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", part.version)
    assert (part.source / "go.sum").stat().st_size > 0


def test_the_staging_modules_of_kubernetes_have_its_own_version() -> None:
    kubernetes = BY_NAME["kubernetes"]
    staged = re.findall(r"=> k8s.io/\S+ v0\.(\S+)", (kubernetes.source / "go.mod").read_text())
    assert len(staged) > 25
    assert {f"1.{version}" for version in staged} == {kubernetes.version}


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_part_s_key_changes_with_every_file_of_its_module(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = BY_NAME["coredns"].digest
    shutil.copytree(BY_NAME["coredns"].source, tmp_path / "coredns")
    monkeypatch.setattr(parts, "_SOURCES", tmp_path)
    assert BY_NAME["coredns"].digest == before
    with (tmp_path / "coredns" / file).open("a") as handle:
        handle.write("// changed\n")
    assert BY_NAME["coredns"].digest != before


def test_a_program_is_built_by_one_part_only() -> None:
    programs = [program for part in EVERY for program in part.programs]
    assert len(programs) == len(set(programs))
