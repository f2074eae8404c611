"""What fails is run once more by itself: what passes then is told as flaky, what fails again fails the room."""

import sys
from pathlib import Path

import pytest

from tools.rooms import run_room

SOMETIMES = """from pathlib import Path
def test_sometimes():
    file = Path(__file__).with_name("ran")
    ran = file.exists()
    file.touch()
    assert ran
"""
ALWAYS = "def test_always():\n    assert False\n"
FINE = "def test_fine():\n    pass\n"
MANY = "".join(f"def test_{number}():\n    assert False\n" for number in range(6))


@pytest.fixture(autouse=True)
def _few_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def _run(folder: Path, content: str, *options: str) -> int:
    (folder / "test_room.py").write_text(content)
    pytest_of_it = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), str(folder), *options]
    return run_room("room", pytest_of_it, folder / "reports")


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "--numprocesses=2")], ids=["one process", "two"])
def test_a_test_that_passes_by_itself_is_told_as_flaky(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    assert _run(tmp_path, SOMETIMES + FINE, *options) == 0
    assert "flaky: test_room.py::test_sometimes failed once" in capfd.readouterr().out
    first = (tmp_path / "reports/room.xml").read_text()
    again = (tmp_path / "reports/room-again.xml").read_text()
    assert ('tests="2"' in first, 'failures="1"' in first) == (True, True)
    assert ('tests="1"' in again, 'failures="0"' in again) == (True, True)


@pytest.mark.parametrize(("content", "runs_again"), [(ALWAYS + SOMETIMES, True), (MANY, False), (FINE, False)])
def test_what_fails_again_and_what_fails_in_many_places_fails_the_room(
    tmp_path: Path, content: str, *, runs_again: bool
) -> None:
    assert _run(tmp_path, content) == int(content != FINE)
    assert (tmp_path / "reports/room-again.xml").exists() == runs_again


def test_a_failure_of_an_earlier_run_is_not_run_again(tmp_path: Path) -> None:
    assert _run(tmp_path, ALWAYS) == 1
    (tmp_path / "reports/room-again.xml").unlink()
    assert _run(tmp_path, FINE) == 0
    assert not (tmp_path / "reports/room-again.xml").exists()


def test_tests_that_cannot_be_read_are_not_run_again(tmp_path: Path) -> None:
    assert _run(tmp_path, "import nowhere_at_all\n") == 2
    assert not (tmp_path / "reports/room-again.xml").exists()
