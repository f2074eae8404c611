"""How nginx is started in the router's container."""

import os
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.router import __main__ as router


@pytest.mark.parametrize(("cores", "workers"), [(None, 1), ("1", 1), ("4", 4)])
def test_there_is_a_worker_for_each_core_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: str | None, workers: int
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(os, "execv", lambda *call: started.append(call))
    monkeypatch.setattr(router, "_RECORDS", tmp_path / "shared/records")
    monkeypatch.delenv("ANNEAL_CORES", raising=False)
    if cores:
        monkeypatch.setenv("ANNEAL_CORES", cores)
    router.main()
    ((_, command),) = started
    assert command[-1] == f"daemon off; worker_processes {workers};"
    assert (Path(command[command.index("-p") + 1]) / command[command.index("-c") + 1]).exists()
    assert (tmp_path / "shared/records").is_dir()


def test_the_places_are_those_of_the_configuration() -> None:
    text = (Path(router.__file__).parent / "router.conf").read_text()
    assert f'router.start("/shared/routes.json", "{router._RECORDS}")' in text  # noqa: SLF001
