"""Log lines that programs can read."""

import json
import logging
import subprocess
import sys

from anneal_operator.logs import LOOK, JsonFormatter


def _line(message: str, **fields: object) -> dict[str, object]:
    record = logging.LogRecord("anneal.queue", logging.WARNING, __file__, 1, message, None, None)
    record.__dict__.update(fields)
    line: dict[str, object] = json.loads(JsonFormatter().format(record))
    return line


def test_a_line_is_one_json_object() -> None:
    line = _line('a "word"\nand 한글')
    assert (line["level"], line["logger"], line["message"]) == ("warning", "anneal.queue", 'a "word"\nand 한글')
    assert str(line["time"]).endswith("+00:00")


def test_what_is_said_during_a_look_names_it() -> None:
    token = LOOK.set({"look": "1a2b", "kind": "FineTuneJob", "namespace": "team", "name": "job"})
    try:
        assert _line("x").items() >= {"look": "1a2b", "name": "job"}.items()
    finally:
        LOOK.reset(token)
    assert "look" not in _line("x")


def test_an_exception_is_part_of_its_line() -> None:
    try:
        int("odd")
    except ValueError:
        assert "ValueError: invalid literal" in str(_line("x", exc_info=sys.exc_info())["exception"])


def test_mlflows_client_logs_that_way_too_and_only_what_went_wrong() -> None:
    """In a process of its own: what a library does to logging when it is imported lasts."""
    says = "log = logging.getLogger('mlflow.store'); log.info('creation'); log.warning('odd')"
    script = f"import logging; from anneal_operator.logs import configure; configure(); import mlflow; {says}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="operator")
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["odd"]
