"""What Prometheus reads of a router: true sums of all its workers, of a bounded number of series."""

import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from serving_runtime.plan import ModelRoute, bucket
from toolbox.polling import poll

from .stand import SALT, Stand, standing, table
from .test_usage import BEGIN, DONE, LAST, STREAM, USAGE, WORD, events

ARM = ("stable", "one") if bucket(SALT, "u1") < 5000 else ("tuned", "two")
WHO = {"model": "split", "version": ARM[1], "variant": ARM[0], "endpoint": ""}
NAMES = {
    "requests": "counter",
    "requests_in_flight": "gauge",
    "request_duration_seconds": "histogram",
    "time_to_first_token_seconds": "histogram",
    "time_per_output_token_seconds": "histogram",
    "prompt_tokens": "counter",
    "completion_tokens": "counter",
    "fallbacks": "counter",
    "ejections": "counter",
    "shadow_requests": "counter",
    "shadow_dropped": "counter",
    "scored": "counter",
    "scored_dropped": "counter",
    "records_waiting": "gauge",
    "recorder_lag_seconds": "gauge",
    "routes_generation": "gauge",
    "records_dropped": "counter",
}


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with standing(tmp_path_factory.mktemp("router"), workers=2) as stand:
        yield stand


def families(router: Stand) -> dict[str, Metric]:
    """The page, as Prometheus' own parser reads it."""
    answer = router.ask("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        family.name.removeprefix("anneal_router_"): family
        for family in text_string_to_metric_families(answer.content.decode())
    }


def value(router: Stand, name: str, **labels: str) -> float:
    """The sum of the samples of this name with such labels."""
    samples = (sample for family in families(router).values() for sample in family.samples)
    found = [s for s in samples if s.name == f"anneal_router_{name}" and labels.items() <= s.labels.items()]
    return sum(sample.value for sample in found)


def _is(router: Stand, expected: float, name: str, **labels: str) -> bool:
    """Whether the value is this one soon: another worker's counts are a second old."""
    return poll(lambda: value(router, name, **labels) == expected, 5, every=0.1)


def _stream(router: Stand, *pieces: str) -> None:
    body = json.dumps({"model": "split", "play": list(pieces)})[:-1]
    router.ask("/v1/chat/completions", f'{body},"scenario":"play"{STREAM}}}', X_User_Id="u1")


def test_names_are_as_prometheus_wants_them_and_are_told_before_anything_is_counted(own: Stand) -> None:
    told = families(own)
    assert {name: family.type for name, family in told.items()} == NAMES
    assert all(family.documentation.endswith(".") for family in told.values())
    for name, family in told.items():
        assert not name.endswith(("_count", "_sum", "_bucket", "_info"))
        assert not {"le", "quantile"} & {label for sample in family.samples for label in sample.labels}
    assert value(own, "records_dropped_total") == 0


def test_how_far_routes_and_records_have_come_is_told(own: Stand) -> None:
    assert _is(own, 1, "routes_generation")
    assert families(own)["recorder_lag_seconds"].samples == [], "nothing is known yet"
    assert own.ask("/-/requests").json == {"under_way": {}, "asked_seconds_ago": {}}
    (own.folder / "records/delivered").write_text(f"{time.time() - 40:.0f}")
    assert 39 <= value(own, "recorder_lag_seconds") <= 50
    assert 39 <= own.ask("/-/requests").json["recorder_lag_seconds"] <= 50
    routes = json.loads((own.folder / "routes.json").read_text())
    own.write(json.dumps(routes | {"generation": routes["generation"] + 1}))
    assert _is(own, routes["generation"] + 1, "routes_generation")


def _slow(model: str) -> str:
    asked = {"model": model, "scenario": "play", "play": [WORD, *["PAUSE"] * 30], "stream": True}
    return json.dumps(asked, separators=(",", ":"))


def test_the_operator_is_told_how_many_requests_each_version_has_under_way(own: Stand) -> None:
    def under_way() -> dict[str, int]:
        told: dict[str, int] = own.ask("/-/requests").json["under_way"]
        return told

    assert under_way() == {}
    with ThreadPoolExecutor() as threads:
        models = ("plain", "plain", "plain@2")
        asked = [threads.submit(own.ask, "/v1/chat/completions", _slow(model)) for model in models]
        assert poll(lambda: sorted(under_way().values()) == [1, 2], 5, every=0.1), under_way()
        assert all(one.result().status == 200 for one in asked)
    assert poll(lambda: set(under_way().values()) == {0}, 5, every=0.1)


def test_each_answer_is_counted_by_who_gave_it_and_how_it_ended(own: Stand) -> None:
    for scenario in ("echo", "stream", "cut", "500", "503"):
        own.chat("split", scenario, X_User_Id="u1")
    own.chat("plain@2")
    for body in ('{"model":"nobody"}', "{"):
        own.ask("/v1/chat/completions", body)
    expected = {("complete", "2xx"): 2, ("broken", "2xx"): 1, ("error", "5xx"): 2}
    for (outcome, code), count in expected.items():
        assert _is(own, count, "requests_total", **WHO, outcome=outcome, code=code)
    assert _is(own, 1, "requests_total", model="plain", version="two", variant="", outcome="complete")
    assert _is(own, 2, "requests_total", model="", outcome="error", code="4xx")
    assert _is(own, 8, "requests_total")
    assert _is(own, 0, "requests_in_flight")


def test_tokens_and_times_of_streams_are_counted(own: Stand) -> None:
    for _ in range(3):
        _stream(own, events(BEGIN), "PAUSE", events(WORD), "PAUSE", events(WORD, LAST), events(USAGE, DONE))
    assert _is(own, 15, "prompt_tokens_total", **WHO)
    assert _is(own, 9, "completion_tokens_total", **WHO)
    for name, low, high in [
        ("request_duration", 0.12, 2),
        ("time_to_first_token", 0.06, 2),
        ("time_per_output_token", 0.02, 1),  # a piece may be read late, and the next in time
    ]:
        assert _is(own, 3, f"{name}_seconds_count", **WHO)
        assert low * 3 <= value(own, f"{name}_seconds_sum", **WHO) <= high * 3
        buckets = [s for s in families(own)[f"{name}_seconds"].samples if s.name.endswith("_bucket")]
        counts = [sample.value for sample in buckets]
        assert counts == sorted(counts)
        assert (counts[-1], buckets[-1].labels["le"]) == (3, "+Inf")
        assert [s.value for s in buckets if float(s.labels["le"]) < low] == [0] * sum(
            float(s.labels["le"]) < low for s in buckets
        )


def test_an_answer_that_is_no_stream_has_no_first_token(own: Stand) -> None:
    own.chat("split", X_User_Id="u1")
    assert _is(own, 1, "request_duration_seconds_count")
    assert value(own, "time_to_first_token_seconds_count") == 0


def test_what_is_answered_is_in_flight(own: Stand) -> None:
    body = b'{"model":"plain","scenario":"held"}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    with own.connect() as client:
        client.sendall(head % (len(body), body))
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        assert _is(own, 1, "requests_in_flight", model="plain", version="one")
        own.engine.go_on.set()
        assert _is(own, 0, "requests_in_flight", model="plain", version="one")


def test_a_worker_that_was_killed_leaves_its_counts_and_nothing_in_flight(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router, router.connect() as client:
        router.chat("plain")
        body = b'{"model":"plain","scenario":"held"}'
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert _is(router, 1, "requests_in_flight", model="plain")
        (worker,) = router.workers()
        os.kill(worker, signal.SIGKILL)
        assert poll(lambda: router.workers() not in ([], [worker]) and router.listens(), 5)
        router.engine.go_on.set()
        assert _is(router, 0, "requests_in_flight", model="plain")
        router.chat("plain")
        assert _is(router, 2, "requests_total", model="plain")


def _bounded(most: int, idle: int) -> Mapping[str, str]:
    """With other bounds than the router's own."""
    begun = 'router = require "router"'
    bounds = f'local registry = require "registry"; registry.MOST_SERIES, registry.IDLE_SECONDS = {most}, {idle}'
    return {begun: f"{begun}; {bounds}"}


def test_there_are_only_so_many_series_and_what_is_more_is_counted_together(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with standing(tmp_path_factory.mktemp("router"), _bounded(20, 3600), workers=2) as router:
        names = [f"m{number}" for number in range(30)]
        models = {name: ModelRoute(default="one", named={}) for name in names}
        router.write(table(router.engine.port, 0).model_copy(update={"models": models}))
        assert poll(lambda: all(router.chat(names[0]).status == 200 for _ in range(20)), 5)
        for _ in range(2):
            for name in names:
                router.chat(name)
        assert poll(lambda: value(router, "requests_total", code="2xx") == router.engine.asked["echo"], 5, every=0.1)
        assert value(router, "requests_total", model=names[1], version="one", outcome="complete") == 2
        told = {s.labels["model"]: s.value for s in families(router)["requests"].samples if s.labels["code"] == "2xx"}
        assert 18 <= len(told) <= 24
        assert told["other"] >= 2 * (30 - 22)
        assert _is(router, 0, "requests_in_flight")


def test_a_series_that_stood_still_for_long_leaves_its_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router"), _bounded(2, 0)) as router:
        for model in ("plain", "alike", "split", "plain"):
            router.chat(model)
            assert _is(router, 1, "requests_total", model=model)
        assert value(router, "requests_total") == 2


def test_others_count_and_show_what_they_know(tmp_path_factory: pytest.TempPathFactory) -> None:
    shown = 'metrics.show("shown", "What is shown.", function() return 7 end)'
    begun, health = 'router = require "router"', "router.health()"
    ejected = 'metrics.count("ejections_total", { version = "one", endpoint = "10.0.0.1:8000", model = "plain" })'
    changes = {begun: f'{begun}; metrics = require "metrics"; {shown}', health: f"{ejected} {health}"}
    with standing(tmp_path_factory.mktemp("router"), changes) as router:
        for _ in range(2):
            router.ask("/health")
        assert value(router, "shown") == 7
        (sample,) = (s for s in families(router)["ejections"].samples if s.name.endswith("_total"))
        assert (sample.labels, sample.value) == ({"version": "one", "endpoint": "10.0.0.1:8000"}, 2)


def test_labels_are_written_so_that_any_name_can_be_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router")) as router:
        name = 'a"b\\c\nd{}'
        models = {name: ModelRoute(default="one", named={})}
        router.write(table(router.engine.port, 0).model_copy(update={"models": models}))
        body: Any = {"model": name}
        assert poll(lambda: router.ask("/v1/chat/completions", body).status == 200, 5)
        assert _is(router, 1, "requests_total", model=name, outcome="complete")


def test_lines_that_cannot_be_written_are_told(own: Stand) -> None:
    records = own.folder / "records"
    records.rename(own.folder / "elsewhere")
    own.chat("plain")
    assert _is(own, 1, "records_waiting")
    records.mkdir()
    assert _is(own, 0, "records_waiting")


def test_metrics_are_not_for_clients_and_only_read(own: Stand) -> None:
    assert b"404" in own.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert own.ask("/metrics", method="DELETE").status == 405
