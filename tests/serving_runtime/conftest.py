"""What the recorder's tests share."""

import pytest


class _Volume:
    total, free = 1 << 40, 1 << 39


@pytest.fixture(autouse=True)
def there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left on the disk of the machine that tests: the recorder writes less where there is little."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Volume)
