"""One router for all tests that leave it as it was."""

from collections.abc import Iterator

import pytest

from .stand import Stand, standing


@pytest.fixture(scope="session")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """It is the same process at the end: no worker died."""
    with standing(tmp_path_factory.mktemp("router")) as stand:
        workers = stand.workers()
        yield stand
        assert stand.workers() == workers, (stand.folder / "log").read_text()
