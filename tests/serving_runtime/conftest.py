"""What several of the recorder's tests begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving_runtime.recorder.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    made = Database(tmp_path / "recorder.sqlite")
    yield made
    made.close()
