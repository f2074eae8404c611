"""How nginx is started in the router's container."""

from pathlib import Path
from typing import Any

import pytest

from serving_runtime.router import __main__ as router


@pytest.mark.parametrize(("cores", "workers"), [(None, 1), ("1", 1), ("4", 4)])
def test_there_is_a_worker_for_each_core_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, cores: str | None, workers: int
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(router, "attend", lambda *call: started.append(call))
    monkeypatch.delenv("ANNEAL_CORES", raising=False)
    if cores:
        monkeypatch.setenv("ANNEAL_CORES", cores)
    router.main()
    ((command, records),) = started
    assert command[-1] == f"daemon off; worker_processes {workers};"
    assert (Path(command[command.index("-p") + 1]) / command[command.index("-c") + 1]).exists()
    assert records == router._RECORDS  # noqa: SLF001


def test_the_places_are_those_of_the_configuration() -> None:
    text = (Path(router.__file__).parent / "router.conf").read_text()
    assert f'router.start("/shared/routes.json", "{router._RECORDS}")' in text  # noqa: SLF001
