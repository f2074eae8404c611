"""What answers are worth, by the real nginx, scorer and recorder: beside the way of requests, never their concern."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from serving_runtime.keys import Keyed
from serving_runtime.plan import (
    ADMIN_KEY_VARIABLE,
    ExperimentRoute,
    KeyRoute,
    ModelRoute,
    RouteTable,
    ScoresRoute,
    Target,
    VariantRoute,
)
from serving_runtime.scorer.app import create_app
from serving_runtime.scorer.desk import Desk, is_sampled
from serving_runtime.scorer.recorder import Recorder
from serving_runtime.scoring import ScoredMetric, ScoringPlan
from tests.support.recorder import KEY, recorder
from toolbox.polling import poll

from .answerer import Answerer, answerer
from .stand import KEYS, SALT, Stand, endpoints, standing
from .test_metrics import value

LABEL = '{"type": "object", "required": ["label"]}'


@contextmanager
def _scorer(plan: ScoringPlan) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    app = Keyed(create_app(Desk(plan, Recorder(plan.recorder, KEY))), KEYS[ADMIN_KEY_VARIABLE], ("/health",))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def _shipping(folder: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "serving_runtime.router.shipper", "--records", str(folder / "records")]
    command += ["--recorder", str(folder / "address"), "--end-within", "0"]
    with subprocess.Popen(command, env={**os.environ, ADMIN_KEY_VARIABLE: KEY}) as process:
        try:
            yield
        finally:
            process.kill()


def _table(percent: int, port: int) -> RouteTable:
    split = ExperimentRoute(
        name="x",
        uid="uid",
        salt=SALT,
        keys=[KeyRoute(kind="header", name="x-user-id")],
        control="stable",
        variants=[VariantRoute(name="stable", target="one", up_to=10000)],
        scores=ScoresRoute(percent=percent, host="127.0.0.1", port=port),
    )
    targets = {"one": Target(host="127.0.0.1", port=1, model="engine-one", service="one")}
    return RouteTable(targets=targets, models={"m": ModelRoute(default="one", named={}, experiments=[split])})


def _told(address: str, metric: str) -> Any:
    url = f"http://{address}/experiments/uid/statistics?metric={metric}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def _mean(address: str, metric: str) -> tuple[int, float] | None:
    told = _told(address, metric)["variants"].get("stable", {}).get("metric")
    return (told["users"], told["mean"]) if told else None


@contextmanager
def _scene(folder: Path, *, percent: int = 100, away: bool = False) -> Iterator[tuple[Stand, Answerer, str]]:
    with ExitStack() as stack:
        model = stack.enter_context(answerer())
        address = stack.enter_context(recorder(folder))
        metrics = [
            ScoredMetric(name="valid", source="SchemaValidity", percent=percent, response_schema=LABEL),
            ScoredMetric(name="declined", source="Refusals", percent=percent),
        ]
        plan = ScoringPlan(recorder=f"http://{address}", experiments={"uid": metrics})
        port = stack.enter_context(_scorer(plan)) if not away else 1
        (folder / "endpoints.json").write_text(endpoints({"one": [model.port]}))
        router = stack.enter_context(standing(folder, routes=_table(percent, port)))
        (folder / "address").write_text(address)
        stack.enter_context(_shipping(folder))
        yield router, model, address


def _ask(router: Stand, user: str, **more: Any) -> str:
    answer = router.ask(body={"model": "m", "messages": [{"role": "user", "content": "q"}], **more}, X_User_Id=user)
    assert answer.status == 200
    return str(answer.headers["x-exposure-id"])


def test_a_user_s_mean_of_what_answers_are_worth_reaches_the_recorder_once(tmp_path: Path) -> None:
    with _scene(tmp_path) as (router, model, address):
        model.says = '{"label": 1}'
        _ask(router, "u1")
        _ask(router, "u1", stream=True)
        model.says = "I'm sorry, but I can't help with that."
        _ask(router, "u1")
        _ask(router, "u2")
        assert poll(lambda: (_mean(address, "score.declined") or (0, 0.0))[0] == 2, 30, every=0.1)
        assert poll(lambda: _told(address, "score.valid")["scoring"]["scored"] == 4, 30, every=0.1)
        assert poll(lambda: abs((_mean(address, "score.declined") or (0, 0.0))[1] - 2 / 3) < 1e-6, 30, every=0.1)
        assert _mean(address, "score.valid") is not None
        assert poll(lambda: abs((_mean(address, "score.valid") or (0, 0.0))[1] - 1 / 3) < 1e-6, 30, every=0.1)
        assert value(router, "scored_total") == 4
        kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
        assert not any(b'label\\": 1' in text or b"can't help" in text for text in kept)


def test_clients_can_say_no_score(tmp_path: Path) -> None:
    with _scene(tmp_path) as (router, _, _):
        said = {"exposureId": "0" * 32, "metric": "score.valid", "value": 1}
        assert poll(lambda: router.ask("/v1/feedback", said, Content_Type="application/json").status == 422, 10)
        assert router.ask("/scores", {"scores": []}).status == 404


def test_the_sample_is_of_ids_as_the_scorer_has_it_and_strangers_are_not_in_it(tmp_path: Path) -> None:
    with _scene(tmp_path, percent=50) as (router, _, address):
        ids = [_ask(router, f"u{number}") for number in range(60)]
        router.ask(body={"model": "m", "messages": []})
        expected = sum(is_sampled("uid", one, 50) for one in ids)
        assert 0 < expected < 60
        assert poll(lambda: (_mean(address, "score.declined") or (0, 0.0))[0] == expected, 30, every=0.1)
        assert value(router, "scored_total") == expected


def test_a_scorer_that_is_away_costs_nobody_an_answer_and_is_counted(tmp_path: Path) -> None:
    with _scene(tmp_path, away=True) as (router, model, _):
        for number in range(10):
            _ask(router, f"u{number}")
        model.says = "x" * 300_000
        _ask(router, "u1")
        assert poll(lambda: value(router, "scored_dropped_total", reason="away") == 10, 20, every=0.1)
        assert poll(lambda: value(router, "scored_dropped_total", reason="large") == 1, 20, every=0.1)
