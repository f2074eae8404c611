"""Adapters follow a mounted file: nobody else loads any, none keeps others from answering, and nothing is forgotten."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Gauge, generate_latest

from prompts.canary import CANARY_FILE, Canary, CanaryQuestion
from serving_runtime import adapters
from serving_runtime.adapter_folder import PLACES_VARIABLE, AdapterError, Places
from serving_runtime.adapter_keeper import Keeper
from serving_runtime.adapters import PASSED_ON, Adapters
from serving_runtime.engine_key import EngineKey
from serving_runtime.keys import App, Message, Receive, Send
from serving_runtime.plan import ADAPTERS_PATH, ENGINE_KEY_VARIABLE, ServingPlan, WantedAdapter, weights_folder
from serving_runtime.weights.published import WeightsError

from .test_adapter_folder import BASE, PLAN, published, served

CHAT = "/v1/chat/completions"


@dataclass
class Mlflow:
    """Where adapters come from, by their URIs."""

    folders: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = field(default_factory=dict)
    down: bool = False
    asked: list[str] = field(default_factory=list)

    def fetch(self, _: ServingPlan, wanted: WantedAdapter, home: Path) -> Path:
        self.asked.append(wanted.uri)
        if self.down:
            raise WeightsError("MLflow is away")
        folder = home / weights_folder(wanted.digest)
        published(folder, *self.folders[wanted.uri])
        return folder


@dataclass
class Loading:
    """What an engine is told to load."""

    there: dict[str, str] = field(default_factory=dict)
    refuses: str = ""
    otherwise: str = ""
    is_mute: bool = False
    answers: bool = True
    calls: list[str] = field(default_factory=list)

    async def load(self, name: str, folder: Path) -> str:
        assert (folder / "manifest.json").exists()
        self.calls.append(f"load {name}")
        if name in self.there:
            return "already loaded"
        if not self.refuses:
            self.there[name] = str(folder)
        return self.refuses

    async def differs(self, name: str, folder: Path) -> str:
        assert self.there[name] == str(folder)
        if self.is_mute:
            raise AdapterError("it does not answer")
        return self.otherwise

    async def unload(self, name: str) -> None:
        self.calls.append(f"unload {name}")
        self.there.pop(name, None)

    async def loaded(self) -> dict[str, str] | None:
        return dict(self.there) if self.answers else None


class Scene:
    """A keeper, with a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mlflow, self.engine, self.time = folder, Mlflow(), Loading(), 0.0
        self.places = Places(
            plan=PLAN, wanted=folder / "adapters.json", home=folder / "home", served=served(folder / "served")
        )
        self.keeper = Keeper(self.engine, self.places, self.mlflow.fetch, lambda: self.time)

    def publish(self, name: str, files: dict[str, str] | None = None, **config: Any) -> dict[str, str]:
        """Publish an adapter; return what asks for it."""
        uri, settings = f"mlflow-artifacts:/1/{name}/artifacts/adapter", {"lora_alpha": name, **config}
        self.mlflow.folders[uri] = made = (settings, BASE, files or {})
        return {"uri": uri, "digest": published(self.folder / "published" / name, *made)}

    def want(self, **wanted: dict[str, str]) -> None:
        self.places.wanted.write_text(json.dumps({"adapters": wanted}))

    def keep(self, later: float = 0.0) -> None:
        self.time += later
        asyncio.run(self.keeper.keep())

    @property
    def loaded(self) -> dict[str, str]:
        return {name: told.digest for name, told in self.keeper.report().loaded.items()}

    @property
    def problems(self) -> dict[str, str]:
        return {name: told.message for name, told in self.keeper.report().problems.items()}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_what_is_wanted_is_loaded_once(scene: Scene) -> None:
    one, two = scene.publish("one"), scene.publish("two")
    scene.want(one=one, two=two)
    scene.keep()
    assert scene.loaded == {"one": one["digest"], "two": two["digest"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", scene.keeper.report().loaded["one"].verified_at)
    scene.keep(later=600)
    assert scene.engine.calls == ["load one", "load two"]


def test_one_that_does_not_fit_keeps_no_other_from_answering(scene: Scene) -> None:
    one, two = scene.publish("one", r=64), scene.publish("two")
    scene.want(one=one, two=two)
    scene.keep()
    assert list(scene.loaded) == ["two"]
    assert "the adapter's rank is 64" in scene.problems["one"]
    assert scene.engine.calls == ["load two"], "the engine never hears of it"


def test_one_that_cannot_be_had_is_tried_again_after_a_while(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.mlflow.down = True
    scene.keep()
    scene.keep(later=29)
    assert (scene.problems, len(scene.mlflow.asked)) == ({"one": "MLflow is away"}, 1)
    scene.mlflow.down = False
    scene.keep(later=1)
    assert (list(scene.loaded), scene.problems) == (["one"], {})


def test_what_the_engine_refuses_is_told(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.engine.refuses = "no such module"
    scene.keep()
    assert (scene.loaded, scene.problems) == ({}, {"one": "no such module"})


def test_one_that_answers_otherwise_than_in_training_goes_again(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.engine.otherwise = "question 1 of 3 differs"
    scene.keep()
    assert (scene.loaded, scene.problems) == ({}, {"one": "question 1 of 3 differs"})
    assert scene.engine.calls == ["load one", "unload one"]
    scene.keep(later=600)
    assert len(scene.engine.calls) == 2, "it would differ again"
    scene.engine.otherwise = ""
    scene.want(one=scene.publish("another"))
    scene.keep()
    assert (list(scene.loaded), scene.problems) == (["one"], {})


def test_one_that_is_not_compared_is_tried_again(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.engine.is_mute = True
    scene.keep()
    assert (scene.loaded, scene.problems) == ({}, {"one": "it does not answer"})
    assert scene.keeper.hides("one")
    scene.keep(later=60)
    scene.engine.is_mute = False
    scene.keep(later=30)
    assert (list(scene.loaded), scene.problems) == (["one"], {})
    assert not scene.keeper.hides("one")
    assert scene.engine.calls == ["load one"], "to unload it would free nothing"
    assert len(scene.mlflow.asked) == 1


def test_one_that_was_not_compared_goes_when_it_is_not_wanted_or_another_is(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.engine.is_mute = True
    scene.keep()
    scene.want(one=scene.publish("another"))
    scene.keep()
    assert scene.engine.calls == ["load one", "unload one", "load one"]
    scene.want()
    scene.keep()
    assert (scene.engine.there, scene.keeper.hides("one")) == ({}, False)


def test_one_that_was_not_compared_and_is_lost_is_loaded_again(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.engine.is_mute = True
    scene.keep()
    scene.engine.there = {}
    scene.engine.is_mute = False
    scene.keep(later=60)
    assert (list(scene.loaded), scene.engine.calls) == (["one"], ["load one", "load one"])


def test_another_digest_is_tried_at_once_in_a_folder_of_its_own(scene: Scene) -> None:
    scene.want(one=scene.publish("one", r=64))
    scene.keep()
    before, after = scene.publish("one"), scene.publish("other")
    scene.want(one=before)
    scene.keep()
    assert (scene.loaded, scene.problems) == ({"one": before["digest"]}, {})
    scene.want(one=after)
    scene.keep()
    assert scene.loaded == {"one": after["digest"]}
    assert scene.engine.there["one"].endswith(weights_folder(after["digest"]))
    assert (scene.places.home / weights_folder(before["digest"])).exists(), (
        "the engine may read it again for requests under way"
    )


def test_one_that_is_not_wanted_any_more_is_kept_until_routers_have_left_it(scene: Scene) -> None:
    one = scene.publish("one")
    scene.want(one=one)
    scene.keep()
    scene.want()
    scene.keep()
    scene.keep(later=119)
    assert list(scene.loaded) == ["one"]
    scene.want(one=one)
    scene.keep(later=119)
    scene.want()
    scene.keep()
    scene.keep(later=120)
    assert (scene.loaded, scene.engine.calls) == ({}, ["load one", "unload one"])
    assert (scene.places.home / weights_folder(one["digest"])).exists()


def test_a_file_that_cannot_be_read_changes_nothing(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.keep()
    scene.places.wanted.write_text("{")
    scene.keep(later=600)
    assert list(scene.loaded) == ["one"]


def test_what_the_engine_lost_or_others_loaded_is_put_right_within_a_minute(scene: Scene) -> None:
    scene.want(one=scene.publish("one"), two=scene.publish("two"))
    scene.keep()
    scene.engine.there = {"two": "/elsewhere", "stranger": "/tmp/stranger"}  # noqa: S108 - nobody's
    scene.keep(later=59)
    assert len(scene.engine.calls) == 2
    scene.keep(later=1)
    assert {name: Path(folder).parent for name, folder in scene.engine.there.items()} == {
        "one": scene.places.home,
        "two": scene.places.home,
    }
    assert list(scene.loaded) == ["one", "two"]


def test_an_engine_that_does_not_answer_is_asked_again(scene: Scene) -> None:
    scene.want(one=scene.publish("one"))
    scene.keep()
    scene.engine.there, scene.engine.answers = {}, False
    scene.keep(later=60)
    assert list(scene.loaded) == ["one"]
    scene.engine.answers = True
    scene.keep()
    assert list(scene.engine.there) == ["one"]


class Vllm:
    """vLLM's server, played: whoever reaches it may load anything."""

    def __init__(self) -> None:
        self.there: dict[str, str] = {}
        self.paths: list[str] = []
        self.is_broken = False
        self.likely: dict[str, float] = {}
        """How likely each adapter makes the stored answer."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        message = await receive() if scope["method"] == "POST" else {}
        asked = json.loads(message.get("body") or b"{}")
        self.paths.append(scope["path"])
        status, said = (
            self._answered(scope["path"], asked) if isinstance(asked, dict) else (400, {"error": "no request"})
        )
        body = json.dumps(said).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": body[5:]})

    def _answered(self, path: str, asked: dict[str, Any]) -> tuple[int, object]:
        if path == "/v1/load_lora_adapter":
            self.there[asked["lora_name"]] = asked["lora_path"]
            return 200, "Success"
        if path == "/v1/unload_lora_adapter":
            self.there.pop(asked["lora_name"])
            return 200, "Success"
        if path == "/tokenize":
            return 200, {"tokens": [1, 2], "max_model_len": 64}
        if path == "/v1/completions" and "prompt_logprobs" in asked:
            if self.is_broken:
                return 500, {"error": {"message": "no"}}
            logprob = self.likely[asked["model"]]
            return 200, {"choices": [{"prompt_logprobs": [None, {"2": {"logprob": 0}}, {"3": {"logprob": logprob}}]}]}
        if path == "/v1/models":
            base = {"id": "shared-base-0", "root": "/served", "parent": None}
            return 200, {"data": [base, *({"id": n, "root": r, "parent": "b"} for n, r in self.there.items())]}
        if asked.get("model", "shared-base-0") in {"shared-base-0", *self.there}:
            return 200, {"answer": 1}
        param = "model" if path == CHAT else "previous_response_id"
        return 404, {"error": {"message": "it does not exist", "param": param, "code": 404}}


Client = Callable[..., Awaitable[tuple[int, Any]]]


def client(app: App) -> Client:
    async def ask(method: str, path: str, asked: object = None, key: str = "k", kind: str = "http") -> tuple[int, Any]:
        sent: list[Message] = []
        body = json.dumps(asked).encode() if asked is not None else b""

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {key}".encode())]
        await app(
            {"type": kind, "method": method, "path": path, "headers": headers, "query_string": b""}, receive, send
        )
        told = b"".join(message.get("body", b"") for message in sent)
        return sent[0].get("status", 0), json.loads(told) if told else sent[0]

    return ask


@pytest.fixture
def shared(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Vllm:
    """What the middleware finds around it, and the played engine that it is put before."""
    monkeypatch.setenv(PLACES_VARIABLE, scene.places.model_dump_json())
    monkeypatch.setenv(ENGINE_KEY_VARIABLE, "k")
    monkeypatch.setattr(adapters, "Keeper", partial(Keeper, fetch=scene.mlflow.fetch))
    monkeypatch.setattr(adapters, "_PERIOD", 0.01)
    return Vllm()


def run(vllm: Vllm, steps: Callable[[Client], Awaitable[None]]) -> None:
    asyncio.run(_run(vllm, steps))


async def _run(vllm: Vllm, steps: Callable[[Client], Awaitable[None]]) -> None:
    async with asyncio.timeout(20):
        await steps(client(EngineKey(Adapters(vllm))))


def test_nobody_is_answered_before_what_was_wanted_at_the_start_is_loaded(scene: Scene, shared: Vllm) -> None:
    one, two = scene.publish("one"), scene.publish("two", r=64)
    scene.want(one=one, two=two)

    async def steps(ask: Client) -> None:
        assert await ask("POST", CHAT, {"model": "one"}) == (200, {"answer": 1})
        status, report = await ask("GET", ADAPTERS_PATH)
        assert (status, report["loaded"]["one"]["digest"]) == (200, one["digest"])
        assert "rank is 64" in report["problems"]["two"]["message"]

    run(shared, steps)


def test_each_adapter_is_held_to_its_own_evaluation(scene: Scene, shared: Vllm) -> None:
    asked = [{"role": "user", "content": "a"}]
    question = CanaryQuestion(messages=asked, prompt_ids=[1, 2], answer_ids=[3], mean_log_probability=-0.5)
    files = {CANARY_FILE: Canary(questions=[question]).model_dump_json()}
    scene.want(one=scene.publish("one", files), two=scene.publish("two", files))
    shared.likely = {"one": -0.54, "two": -0.96}

    async def steps(ask: Client) -> None:
        assert (await ask("POST", CHAT, {"model": "one"}))[0] == 200
        _, report = await ask("GET", ADAPTERS_PATH)
        assert list(report["loaded"]) == list(shared.there) == ["one"]
        assert "is -0.9600 here and was -0.5000 in training" in report["problems"]["two"]["message"]

    run(shared, steps)


def test_one_that_answers_no_question_of_its_evaluation_is_told_of(scene: Scene, shared: Vllm) -> None:
    question = CanaryQuestion(
        messages=[{"role": "user", "content": "a"}], prompt_ids=[1, 2], answer_ids=[3], mean_log_probability=-0.5
    )
    scene.want(one=scene.publish("one", {CANARY_FILE: Canary(questions=[question]).model_dump_json()}))
    shared.is_broken = True

    async def steps(ask: Client) -> None:
        assert (await ask("POST", CHAT, {"model": "one"}))[0] == 503
        _, report = await ask("GET", ADAPTERS_PATH)
        assert "does not answer the questions of its evaluation" in report["problems"]["one"]["message"]
        assert shared.paths.count("/v1/completions") == 10

    run(shared, steps)


def test_no_client_is_answered_by_one_that_is_not_compared_yet(scene: Scene, shared: Vllm) -> None:
    question = CanaryQuestion(
        messages=[{"role": "user", "content": "a"}], prompt_ids=[1, 2], answer_ids=[3], mean_log_probability=-0.5
    )
    one = scene.publish("one")
    scene.want(one=one)

    async def steps(ask: Client) -> None:
        assert (await ask("POST", CHAT, {"model": "one"}))[0] == 200
        shared.is_broken = True
        held = scene.publish("two", {CANARY_FILE: Canary(questions=[question]).model_dump_json()})
        scene.want(one=one, two=held)
        while "two" not in shared.there:
            await ask("GET", ADAPTERS_PATH)
            await asyncio.sleep(0.01)
        for asked in ({"model": "two"}, {"model": "two", "messages": [{"content": "x" * 100}]}):
            assert (await ask("POST", CHAT, asked))[0] == 503
        assert (await ask("POST", CHAT, {"model": "one"}))[0] == 200
        assert (await ask("POST", CHAT, ["no", "object"]))[0] == 400, "what is wrong with it the engine says"
        report: dict[str, Any] = {"problems": {}}
        while not report["problems"]:
            await asyncio.sleep(0.01)
            _, report = await ask("GET", ADAPTERS_PATH)
        assert "two" in shared.there
        assert (await ask("POST", CHAT, {"model": "two"}))[0] == 503

    run(shared, steps)


def test_what_is_added_later_is_loaded_without_a_request(scene: Scene, shared: Vllm) -> None:
    scene.want(one=scene.publish("one"))

    async def steps(ask: Client) -> None:
        await ask("POST", CHAT, {"model": "one"})
        scene.want(one=scene.publish("one"), two=scene.publish("two"))
        answers = [(await ask("POST", CHAT, {"model": "two"}))[0]]
        while answers[-1] != 200:
            answers.append((await ask("POST", CHAT, {"model": "two"}))[0])
            await asyncio.sleep(0.01)
        assert set(answers[:-1]) <= {503}
        assert sorted(shared.there) == ["one", "two"]

    run(shared, steps)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/one"),
        ("POST", "/adapters/"),
        ("POST", "//v1/load_lora_adapter"),
        ("POST", "/v1/load_lora_adapter/"),
        ("POST", "/invocations"),
        ("GET", CHAT),
        ("POST", "/v1/models"),
        ("POST", ADAPTERS_PATH),
        ("GET", "/docs"),
    ],
)
def test_whoever_has_the_routers_key_loads_nothing(scene: Scene, shared: Vllm, method: str, path: str) -> None:
    scene.want(one=scene.publish("one"))

    async def steps(ask: Client) -> None:
        await ask("POST", CHAT, {"model": "one"})
        before = dict(shared.there)
        shared.paths.clear()
        status, told = await ask(method, path, {"lora_name": "x", "lora_path": "/x"})
        assert (status, told["error"]["code"]) == (404, 404)
        assert path not in shared.paths
        assert shared.there == before

    run(shared, steps)


@pytest.mark.parametrize("path", ["/v1/load_lora_adapter", ADAPTERS_PATH, CHAT])
def test_whoever_has_no_key_is_told_nothing(shared: Vllm, path: str) -> None:
    async def steps(ask: Client) -> None:
        assert (await ask("POST", path, {}, key="wrong"))[0] == 401

    run(shared, steps)
    assert shared.paths == []


def test_a_version_that_is_missing_is_asked_of_another_pod(scene: Scene, shared: Vllm) -> None:
    """A router takes 503 to another pod; 404 it would hand to the client."""
    scene.want(one=scene.publish("one"))

    async def steps(ask: Client) -> None:
        status, told = await ask("POST", CHAT, {"model": "two"})
        assert (status, told["error"]["code"]) == (503, 503)
        status, told = await ask("POST", "/v1/responses", {"model": "two"})
        assert (status, told["error"]["param"]) == (404, "previous_response_id"), "that is no missing version"

    run(shared, steps)


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v1/models"])
def test_what_only_tells_is_open(scene: Scene, shared: Vllm, path: str) -> None:
    scene.want()

    async def steps(ask: Client) -> None:
        assert (await ask("GET", path))[0] == 200

    run(shared, steps)


def test_metrics_do_not_grow_with_each_combination_of_adapters(scene: Scene, shared: Vllm) -> None:
    labels = {"max_lora": "4", "waiting_lora_adapters": ""}
    gauge = Gauge("vllm:lora_requests_info", "as the engine has it", [*labels, "running_lora_adapters"])
    gauge.labels(**labels, running_lora_adapters="one").set_to_current_time()
    scene.want(one=scene.publish("one"))

    async def steps(ask: Client) -> None:
        await ask("POST", CHAT, {"model": "one"})
        assert b"lora_requests_info" not in generate_latest()
        gauge.labels(**labels, running_lora_adapters="one,two").set_to_current_time()
        while next(iter(gauge.collect())).samples:
            await ask("GET", ADAPTERS_PATH)
            await asyncio.sleep(0.01)

    run(shared, steps)


def test_a_web_socket_is_closed(scene: Scene, shared: Vllm) -> None:
    scene.want()

    async def steps(ask: Client) -> None:
        assert (await ask("GET", "/v1/realtime", kind="websocket"))[1]["type"] == "websocket.close"

    run(shared, steps)


def test_what_is_passed_on_is_what_a_router_asks() -> None:
    surface = (Path(adapters.__file__).parent / "router/surface.lua").read_text()
    paths = re.findall(r'^  \["(/[a-z/1_]+)"\] = \{ kind(?!.*asked_at)', surface, re.MULTILINE)
    assert set(paths) == PASSED_ON
    assert set(re.findall('asked_at = "(.*?)"', surface)) <= PASSED_ON
