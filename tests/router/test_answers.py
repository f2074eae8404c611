"""What the router does with what a model's server answers, or does not; and the one line that it records of it."""

import base64
import hmac
import json
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import USER_HEADER, USER_KEY_VARIABLE, bucket
from serving_runtime.recorder.database import Database
from serving_runtime.recorder.ingest import Ingest
from serving_runtime.router.spool import Spool
from toolbox.polling import poll

from .engine import STREAMS
from .stand import KEYS, SALT, UNHURRIED, Stand, standing

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-User-Id: u\r\nContent-Length: %d\r\n\r\n%s"


def _new_lines(router: Stand, known: set[str], **fields: Any) -> list[dict[str, Any]]:
    """What was written since, of such fields."""
    new = [line for line in router.records() if line["exposure"] not in known]
    return [line for line in new if all(line[name] == value for name, value in fields.items())]


def _known(router: Stand) -> set[str]:
    return {line["exposure"] for line in router.records()}


def _recorded(folder: Path) -> Database:
    """All that was written, as the recorder has it."""
    database = Database(folder / "recorder.sqlite")
    Spool(folder / "records", "pod").ship(Ingest(database).take)
    return database


@pytest.mark.parametrize(
    ("scenario", "status", "outcome"),
    [
        ("echo", 200, "complete"),
        ("stream", 200, "complete"),
        ("stream-length", 200, "complete"),
        ("stream-halves", 200, "complete"),
        ("stream-abort", 200, "broken"),
        ("stream-error", 200, "broken"),
        ("stream-no-end", 200, "broken"),
        ("cut", 200, "broken"),
        ("cut-at-once", 200, "broken"),
        ("short", 200, "broken"),
        ("204", 204, "broken"),
        ("304", 304, "broken"),
        ("400", 400, "error"),
        ("429", 429, "error"),
        ("500", 500, "error"),
        ("503", 503, "error"),
        ("reset", 502, "error"),
    ],
)
def test_every_answer_is_one_line_that_says_how_it_ended(
    router: Stand, scenario: str, status: int, outcome: str
) -> None:
    answer = router.chat("split", scenario, X_User_Id="u1")
    assert answer.is_whole == (scenario not in {"cut", "cut-at-once", "short"})
    line = router.record_of(answer.headers["x-exposure-id"])
    arm = "stable" if bucket(SALT, "u1") < 5000 else "tuned"
    assert (line["status"], line["outcome"], line["experiment"], line["variant"]) == (status, outcome, "uid", arm)
    assert ("first" in line) == (status == 200 and scenario != "cut-at-once")
    assert 0 <= line.get("first", 0) <= line.get("last", 0) < 5
    assert abs(line["at"] - time.time()) < 60


def test_what_is_no_http_is_no_whole_answer(router: Stand) -> None:
    known = _known(router)
    body = b'{"model":"split","scenario":"nonsense"}'
    with router.connect() as client:
        client.sendall(HEAD % (len(body), body))
        assert client.recv(1000)
        assert poll(lambda: [line["outcome"] for line in _new_lines(router, known)] == ["broken"], 5)


@pytest.mark.parametrize("name", ["nobody", "plain@9"])
def test_a_name_that_is_no_model_s_is_not_recorded(router: Stand, name: str) -> None:
    known = _known(router)
    assert router.chat(name).status == 404
    assert poll(lambda: ["model" in line for line in _new_lines(router, known, status=404)] == [False], 5)


def test_a_clock_that_is_set_back_loses_no_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("router")
    start = "access_by_lua_block { router.route() }"
    later = start.replace("router.route()", "ngx.req.start_time = function() return ngx.now() + 60 end; router.route()")
    with standing(folder, {start: later}) as router:
        line = router.record_of(router.chat("split", X_User_Id="u1").headers["x-exposure-id"])
    assert (line["first"], line["last"]) == (0, 0)
    assert _recorded(folder).statistics("uid", "rating")["variants"][line["variant"]]["requests"] == 1


@pytest.mark.parametrize(
    ("path", "scenario", "outcome"),
    [
        ("/v1/responses", "echo", "complete"),
        ("/v1/responses", "responses", "complete"),
        ("/v1/responses", "responses-halves", "complete"),
        ("/v1/responses", "responses-failed", "broken"),
        ("/v1/responses", "responses-no-end", "broken"),
        ("/v1/completions", "stream", "complete"),
        ("/v1/embeddings", "echo", "complete"),
    ],
)
def test_each_interface_says_its_own_way_that_an_answer_is_whole(
    router: Stand, path: str, scenario: str, outcome: str
) -> None:
    answer = router.chat("split", scenario, path, X_User_Id="u1")
    line = router.record_of(answer.headers["x-exposure-id"])
    assert (line["outcome"], line["kind"]) == (outcome, path.rpartition("/")[2])


def test_counting_a_text_s_tokens_is_no_answer_that_an_experiment_counts(router: Stand) -> None:
    answer = router.ask("/tokenize", {"model": "split"}, X_User_Id="u1")
    assert answer.headers["x-anneal-variant"] == ("stable" if bucket(SALT, "u1") < 5000 else "tuned")
    assert "x-exposure-id" not in answer.headers


def test_an_answer_passes_as_it_is(router: Stand) -> None:
    answer = router.chat("plain", "stream")
    assert answer.content.decode() == "".join(STREAMS["stream"])
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_a_server_cannot_say_what_is_the_router_s_to_say_nor_lead_elsewhere(router: Stand) -> None:
    answer = router.chat("plain", "claim")
    assert (answer.status, answer.content, answer.headers["x-anneal-version"]) == (200, b"", "one")
    assert not {"x-exposure-id", "x-anneal-variant", "x-accel-redirect"} & set(answer.headers)


def test_a_server_that_is_not_there_is_told_of_and_recorded(router: Stand) -> None:
    answer = router.chat("split-down", X_User_Id="u1")
    assert (answer.status, answer.headers["retry-after"]) == (502, "1")
    assert "the model's server does not answer" in answer.error
    line = router.record_of(answer.headers["x-exposure-id"])
    assert (line["status"], line["outcome"], line["experiment"]) == (502, "error", "uid-gone")


def test_a_server_that_keeps_silent_is_told_of_and_recorded(tmp_path_factory: pytest.TempPathFactory) -> None:
    shorter = {"proxy_read_timeout 600s;": "proxy_read_timeout 1s;", "upstream_timeout 30s;": "upstream_timeout 500ms;"}
    with standing(tmp_path_factory.mktemp("router"), shorter) as router:
        answer = router.chat("split", "silent", X_User_Id="u1")
        assert answer.status == 504
        assert "did not answer in time" in answer.error
        assert router.engine.asked["silent"] == 1
        line = router.record_of(answer.headers["x-exposure-id"])
        assert (line["status"], line["outcome"], line["experiment"]) == (504, "error", "uid")


def test_what_is_too_large_is_recorded_though_its_model_is_not_known(router: Stand) -> None:
    known = _known(router)
    assert router.ask(body=b"{" + b" " * (8 << 20)).status == 413
    assert poll(lambda: len(_new_lines(router, known, status=413, outcome="error", kind="chat")) == 1, 5)


def test_an_error_in_plain_text_becomes_json(router: Stand) -> None:
    assert router.chat("plain", "500").error == "the request could not be handled; try again"
    assert router.chat("plain", "404").error == "the request was refused with status 404"


def test_the_server_s_own_error_passes_as_it_is_and_says_when_to_come_again(router: Stand) -> None:
    answer = router.chat("plain", "503")
    assert (answer.content, answer.headers["retry-after"]) == (b'{"error":{"message":"no"}}', "1")
    assert "retry-after" not in router.chat("plain", "400").headers


def test_an_engine_that_does_not_let_the_router_in_is_no_fault_of_the_client_s(router: Stand) -> None:
    answer = router.chat("split", "locked", X_User_Id="u1")
    assert (answer.status, answer.headers["retry-after"]) == (502, "1")
    assert "the model's server does not answer" in answer.error
    assert "www-authenticate" not in answer.headers
    line = router.record_of(answer.headers["x-exposure-id"])
    assert (line["status"], line["outcome"]) == (502, "error")


@pytest.mark.parametrize(
    ("scenario", "status", "times"),
    [
        ("busy-once", 200, 2),
        ("503", 503, 2),
        ("502", 502, 2),
        ("500", 500, 1),
        ("reset", 502, 1),
        ("cut-at-once", 200, 1),
    ],
)
def test_another_try_is_made_only_where_nobody_can_be_at_work_on_the_first(
    router: Stand, scenario: str, status: int, times: int
) -> None:
    before = router.engine.asked[scenario]
    assert router.chat("plain", scenario).status == status
    assert router.engine.asked[scenario] - before == times


@pytest.mark.parametrize("scenario", ["endless", "silent"])
def test_a_client_that_leaves_ends_the_work_for_it(router: Stand, scenario: str) -> None:
    router.engine.left.clear()
    known = _known(router)
    body = b'{"model":"split","scenario":"%s"}' % scenario.encode()
    before = router.engine.asked[scenario]
    with router.connect() as client:
        client.sendall(HEAD % (len(body), body))
        if scenario == "endless":
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert poll(lambda: router.engine.asked[scenario] > before, 5)
    assert router.engine.left.wait(5)
    status = 200 if scenario == "endless" else 499
    assert poll(lambda: len(_new_lines(router, known, outcome="left", status=status)) == 1, 5)


def test_a_user_is_recorded_as_a_hash_that_the_namespace_s_key_alone_makes(router: Stand) -> None:
    answers = [router.chat(model, X_User_Id="someone-secret") for model in ("split", "split-down")]
    lines = [router.record_of(answer.headers["x-exposure-id"]) for answer in answers]
    digest = hmac.digest(KEYS[USER_KEY_VARIABLE].strip().encode(), b"someone-secret", "sha1")
    assert [line["user"] for line in lines] == [base64.b64encode(digest).decode()] * 2
    assert {line["experiment"] for line in lines} == {"uid", "uid-gone"}
    assert "someone-secret" not in str(lines)


def test_a_user_is_the_same_outside_experiments(router: Stand) -> None:
    named = {USER_HEADER.replace("-", "_"): "u1"}
    inside, line = (
        router.record_of(router.chat(model, **named).headers["x-exposure-id"]) for model in ("split", "plain")
    )
    assert line["user"] == inside["user"]
    assert (line["model"], line["version"], line["outcome"]) == ("plain", "one", "complete")
    assert not {"experiment", "variant"} & set(line)


@pytest.mark.parametrize(
    ("model", "path", "headers"),
    [
        ("plain", "/v1/chat/completions", {}),
        ("plain", "/v1/chat/completions", {"X_User_Id": ""}),
        ("plain", "/v1/chat/completions", {"X_Session": "s"}),
        ("plain@1", "/v1/chat/completions", {"X_User_Id": "u1"}),
        ("plain", "/tokenize", {"X_User_Id": "u1"}),
    ],
)
def test_outside_experiments_a_line_names_who_asked_a_model_and_said_who_they_are(
    router: Stand, model: str, path: str, headers: dict[str, str]
) -> None:
    answer = router.chat(model, path=path, **headers)
    assert "x-exposure-id" not in answer.headers
    line = router.record_of(answer.json["headers"]["X-Request-Id"])
    assert (line["model"], line["outcome"]) == (model, "complete")
    assert not {"user", "experiment", "variant"} & set(line)


def test_what_was_answered_last_is_written_when_the_router_ends(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        exposures = {router.chat("split", X_User_Id="u1").headers["x-exposure-id"] for _ in range(5)}
    assert {line["exposure"] for line in router.records()} == exposures
    names = [file.name for file in (router.folder / "records").glob("*.jsonl")]
    assert [name for name in names if not re.fullmatch(r"\d{8}T\d{4}-[0-9a-f]{16}\.jsonl", name)] == []


@pytest.mark.parametrize(("goes_on", "outcome"), [(True, "complete"), (False, "broken")])
def test_a_router_that_ends_finishes_the_streams_that_it_can_and_records_all(
    tmp_path_factory: pytest.TempPathFactory, goes_on: bool, outcome: str
) -> None:
    quick = {} if goes_on else {"worker_shutdown_timeout 600s;": "worker_shutdown_timeout 500ms;"}
    body = b'{"model":"split","scenario":"held"}'
    with standing(tmp_path_factory.mktemp("router"), quick) as router, router.connect() as client:
        client.sendall(HEAD % (len(body), body))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        router.end()
        assert poll(lambda: not router.listens(), 5)
        if goes_on:
            router.engine.go_on.set()
        rest = b"".join(iter(lambda: client.recv(65536), b""))
        assert rest.endswith(b"\r\n0\r\n\r\n") == goes_on
        router.engine.go_on.set()
    assert [line["outcome"] for line in router.records()] == [outcome]


def test_what_a_router_cuts_as_it_ends_before_anything_came_is_its_own_failure(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    asked = b'{"model":"split","scenario":"silent"}'
    quick = {"worker_shutdown_timeout 600s;": "worker_shutdown_timeout 500ms;"}
    with standing(tmp_path_factory.mktemp("router"), quick) as router, ExitStack() as stack:
        clients = [stack.enter_context(router.connect()) for _ in range(2)]
        for client, content in zip(clients, (asked, asked[:5]), strict=True):
            client.sendall(HEAD % (len(asked), content))
        assert poll(lambda: router.engine.asked["silent"] == 1, 5)
        router.end()
        assert [client.recv(1) for client in clients] == [b"", b""]
    assert [(line["status"], line["outcome"]) for line in router.records()] == [(502, "error")] * 2


def test_the_recorder_reads_what_the_router_writes(tmp_path_factory: pytest.TempPathFactory, caplog: Any) -> None:
    folder = tmp_path_factory.mktemp("router")
    scenarios = ["echo", "stream", "cut", "cut-at-once", "500", "reset"]
    with standing(folder) as router:
        for scenario in scenarios:
            router.chat("split", scenario, X_User_Id="u1")
            router.chat("plain", scenario)
    database = _recorded(folder)
    assert not caplog.text
    arm = "stable" if bucket(SALT, "u1") < 5000 else "tuned"
    counted = database.statistics("uid", "rating")
    told = {name: (variant["users"], variant["requests"]) for name, variant in counted["variants"].items()}
    assert (told, counted["moved_users"]) == ({arm: (1, len(scenarios))}, 0)


def test_lines_wait_while_they_cannot_be_written(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        records = router.folder / "records"
        records.rename(router.folder / "elsewhere")
        exposures = {router.chat("split", X_User_Id="u1").headers["x-exposure-id"] for _ in range(5)}
        assert poll(lambda: "records cannot be written and wait" in (router.folder / "log").read_text(), 5)
        records.mkdir()
        assert poll(lambda: {line["exposure"] for line in router.records()} == exposures, 5)


def _bounded(most: int, slice_: int) -> dict[str, str]:
    """Other bounds than the router's own for what waits; it logs each try to write."""
    begun = 'router = require "router"'
    bounds = f'local records = require "records"; records.MOST_BYTES, records.SLICE_BYTES = {most}, {slice_}'
    told = """local open = io.open
    io.open = function(path, mode)
      if mode == "a" then ngx.log(ngx.ERR, "a try to write") end
      return open(path, mode)
    end"""
    return {begun: f"{told}; {begun}; {bounds}"}


def test_only_so_many_bytes_of_lines_wait_and_are_written_in_slices(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router"), _bounded(3000, 500)) as router:
        exposures = [router.chat("split", X_User_Id="u1").headers["x-exposure-id"]]
        size = len(json.dumps(router.record_of(exposures[0]), separators=(",", ":"))) + 1
        records = router.folder / "records"
        records.rename(router.folder / "elsewhere")
        lost = [router.chat("split", X_User_Id="u1").headers["x-exposure-id"] for _ in range(30)]
        assert poll(lambda: "records cannot be written and wait" in (router.folder / "log").read_text(), 5)
        records.mkdir()
        assert poll(lambda: router.records() != [], 5)
        lines = [line["exposure"] for line in router.records()]
        assert lines == lost[: len(lines)]
        assert 3000 / size - 2 < len(lines) <= 3000 / size + 1
        after = router.chat("split", X_User_Id="u1").headers["x-exposure-id"]
        assert router.record_of(after)["outcome"] == "complete"
    assert [line["exposure"] for line in router.records()] == [*lines, after]


def test_a_disk_that_fails_is_tried_once_a_second(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router"), _bounded(3000, 500) | UNHURRIED) as router:
        (router.folder / "records").rename(router.folder / "elsewhere")
        log = router.folder / "log"
        router.chat("split", X_User_Id="u1")
        assert poll(lambda: log.read_text().count("a try to write") > 0, 5, every=0.02)
        start = time.monotonic()
        assert poll(lambda: log.read_text().count("a try to write") > 2, 10, every=0.02)
        assert time.monotonic() - start > 1.2
