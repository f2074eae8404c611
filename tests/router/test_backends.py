"""A version that is somebody else's server: how it is asked, what it is told, and what of its answers comes through."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving_runtime.plan import BackendTarget, ExperimentRoute, KeyRoute, ModelRoute, RouteTable, Target, VariantRoute
from tests.support.authority import authority
from toolbox.polling import poll

from .engine import engine
from .hosted import OF_ITS_OWN, Hosted, hosted
from .stand import KEYS, SALT, Stand, standing

HOST = "api.example.com"


def _hosted(port: int, **changes: object) -> Target:
    fields = {"scheme": "https", "host": HOST, "port": port, "path": "/openai/v1", "key": "api/token", **changes}
    return Target(host="", port=0, model="large-2", backend=BackendTarget.model_validate(fields))


def _split(stable: str, tuned: str) -> ExperimentRoute:
    arms = [VariantRoute(name="stable", target=stable, up_to=1), VariantRoute(name="tuned", target=tuned, up_to=10000)]
    return ExperimentRoute(
        name="x",
        uid="uid",
        salt=SALT,
        keys=[KeyRoute(kind="header", name="x-user-id")],
        control="stable",
        variants=arms,
    )


@dataclass
class Scene:
    """The router before a hosted API, a server of one's own without TLS, and one that few trust."""

    router: Stand
    hosted: Hosted
    inside: Hosted
    stranger: Hosted

    def key(self, text: str) -> None:
        (self.router.folder / "keys" / "api" / "token").write_text(text)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder, trusted = tmp_path_factory.mktemp("router"), authority(tmp_path_factory.mktemp("trusted"))
    other = authority(tmp_path_factory.mktemp("other"))
    (folder / "keys" / "api").mkdir(parents=True)
    (folder / "keys" / "api" / "token").write_text("hosted-key\n")
    changes = {"/etc/ssl/certs/ca-certificates.crt": str(trusted.file), "/etc/anneal/backend-keys/": f"{folder}/keys/"}
    changes |= {"/authorities/other": str(other.file), "/authorities/usual": str(trusted.file)}
    files = {"own/one": "/authorities/other", "own/two": "/authorities/usual"}
    with (
        hosted(trusted.context(HOST)) as api,
        hosted(key="") as inside,
        hosted(other.context(HOST)) as stranger,
        engine() as own,
    ):
        inner = {"scheme": "http", "host": "vllm.team.svc", "path": "/v1", "key": ""}
        targets = {
            "hosted": _hosted(api.port),
            "keyless": _hosted(api.port, key="another/token"),
            "misnamed": _hosted(api.port, host="other.example.com"),
            "stranger": _hosted(stranger.port),
            "vouched": _hosted(stranger.port, trusted="own/one"),
            "vouched-twice": _hosted(stranger.port, trusted="own/two"),
            "vouched-by-another": _hosted(api.port, trusted="own/one"),
            "vouched-by-nobody": _hosted(api.port, trusted="own/none"),
            "inside": _hosted(8000, **inner),
            "bare": _hosted(inside.port, **{**inner, "path": ""}),
            "gone": _hosted(1),
            "loop": _hosted(8080, **inner),
            "own": Target(host="127.0.0.1", port=own.port, model="own", public="split"),
            "own-gone": Target(host="127.0.0.1", port=1, model="large-2"),
        }
        models = {name: ModelRoute(default=name, named={}) for name in targets}
        models |= {
            "large-2": ModelRoute(default="loop", named={}),  # as which it is asked
            "split": ModelRoute(default="own", named={}, experiments=[_split("own", "hosted")]),
            "split-gone": ModelRoute(default="own", named={}, experiments=[_split("own", "gone")]),
            "split-to-hosted": ModelRoute(default="hosted", named={}, experiments=[_split("hosted", "own-gone")]),
        }
        routes = RouteTable(targets=targets, models=models)
        with standing(folder, changes, routes=routes, files=files) as router:
            ports = {"hosted": [api.port], "keyless": [api.port], "misnamed": [api.port], "stranger": [stranger.port]}
            ports |= {name: [stranger.port] for name in ("vouched", "vouched-twice")}
            ports |= {name: [api.port] for name in ("vouched-by-another", "vouched-by-nobody")}
            known = {**ports, "inside": [inside.port], "bare": [inside.port], "gone": []}
            router.write_endpoints({**known, "loop": [router.port]})
            assert poll(lambda: router.chat("hosted").status == 200, 5), (folder / "log").read_text()
            yield Scene(router, api, inside, stranger)


def test_it_is_asked_by_its_own_name_path_and_model_and_with_its_own_key_alone(scene: Scene) -> None:
    told = scene.router.chat("hosted", Authorization="Bearer client", Cookie="a=b", X_User_Id="u", X_Api_Key="client")
    assert (told.status, told.json["path"]) == (200, "/openai/v1/chat/completions")
    headers = told.json["headers"]
    assert headers["Authorization"] == "Bearer hosted-key"
    assert headers["Host"] == f"{HOST}:{scene.hosted.port}"
    assert headers.keys() & {"Cookie", "X-User-Id", "X-Api-Key"} == set()
    assert "client" not in json.dumps(headers)
    assert not any(key.strip() in json.dumps(headers) for key in KEYS.values())
    assert json.loads(told.echoed)["model"] == "large-2"
    assert set(scene.hosted.names) == {HOST}
    assert told.headers["x-anneal-version"] == "hosted"
    record = scene.router.record_of(told.headers["x-exposure-id"])
    assert (record["version"], record["outcome"]) == ("hosted", "complete")


def test_a_server_of_ones_own_is_asked_by_the_name_of_its_service_and_without_a_key(scene: Scene) -> None:
    told = scene.router.chat("inside", Authorization="Bearer client")
    assert told.json["path"] == "/v1/chat/completions"
    assert told.json["headers"]["Host"] == "vllm.team.svc:8000", "whatever its pods' port is"
    assert "Authorization" not in told.json["headers"]


@pytest.mark.parametrize(
    ("model", "path", "asked"),
    [
        ("hosted", "/v1/completions", "/openai/v1/completions"),
        ("hosted", "/tokenize", "/openai/tokenize"),
        ("inside", "/tokenize", "/tokenize"),
        ("bare", "/v1/embeddings", "/embeddings"),
        ("bare", "/tokenize", None),
    ],
)
def test_paths_lie_below_its_own(scene: Scene, model: str, path: str, asked: str | None) -> None:
    told = scene.router.chat(model, path=path)
    if asked:
        assert told.json["path"] == asked
    else:
        assert (told.status, told.error) == (404, f"`{model}` is a backend that has nothing at {path}")


def test_a_key_that_changes_holds_without_a_restart(scene: Scene) -> None:
    scene.key("hosted-key-2")
    scene.hosted.key = "hosted-key-2"
    try:
        assert poll(lambda: scene.router.chat("hosted").status == 200, 5, every=0.05)
        assert scene.hosted.keys[-1] == "Bearer hosted-key-2"
    finally:
        scene.key("hosted-key")
        scene.hosted.key = "hosted-key"
        assert poll(lambda: scene.router.chat("hosted").status == 200, 5, every=0.05)


def test_without_its_key_it_is_not_asked_at_all(scene: Scene) -> None:
    before = len(scene.hosted.keys)
    told = scene.router.chat("keyless")
    assert (told.status, told.error) == (503, "the key of `keyless` is not there yet; try again")
    assert told.headers["retry-after"] == "1"
    assert len(scene.hosted.keys) == before


@pytest.mark.parametrize("model", ["misnamed", "stranger"])
def test_a_certificate_that_does_not_hold_is_told_nothing(scene: Scene, model: str) -> None:
    before = len(scene.stranger.keys), len(scene.hosted.keys)
    told = scene.router.chat(model)
    assert (told.status, told.error) == (502, "the model's server does not answer; try again")
    assert (len(scene.stranger.keys), len(scene.hosted.keys)) == before
    log = (scene.router.folder / "log").read_text()
    assert "SSL certificate" in log
    assert "hosted-key" not in log


def test_one_with_authorities_of_its_own_is_verified_by_these(scene: Scene) -> None:
    told = scene.router.chat("vouched", X_User_Id="u")
    assert (told.status, told.json["path"]) == (200, "/openai/v1/chat/completions")
    assert told.json["headers"]["Authorization"] == "Bearer hosted-key"
    assert told.json["headers"]["Host"] == f"{HOST}:{scene.stranger.port}"
    assert json.loads(told.echoed)["model"] == "large-2"
    assert told.headers["x-anneal-version"] == "vouched"
    record = scene.router.record_of(told.headers["x-exposure-id"])
    assert (record["version"], record["outcome"]) == ("vouched", "complete")
    streamed = scene.router.chat("vouched", "stream", X_User_Id="u")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert scene.router.record_of(streamed.headers["x-exposure-id"])["outcome"] == "complete"
    assert json.loads(scene.router.ask("/-/requests").content)["under_way"]["vouched"] == 0
    large = json.dumps(
        {"model": "vouched", "scenario": "echo", "messages": [{"role": "user", "content": "x" * 200_000}]}
    )
    assert json.loads(json.loads(scene.router.ask(body=large).content)["body"])["model"] == "large-2"


@pytest.mark.parametrize("model", ["vouched-twice", "vouched-by-another", "stranger"])
def test_whom_one_backend_trusts_vouches_for_no_other(scene: Scene, model: str) -> None:
    before = len(scene.stranger.keys), len(scene.hosted.keys)
    told = scene.router.chat(model, X_User_Id="u")
    assert (told.status, told.error) == (502, "the model's server does not answer; try again")
    assert (len(scene.stranger.keys), len(scene.hosted.keys)) == before
    assert scene.router.record_of(told.headers["x-exposure-id"])["outcome"] != "complete"
    assert scene.router.chat("hosted").status == 200


def test_without_its_own_authorities_it_is_not_asked_at_all(scene: Scene) -> None:
    before = len(scene.hosted.keys)
    told = scene.router.chat("vouched-by-nobody")
    sentence = "who vouches for the certificate of `vouched-by-nobody` is not known yet; try again"
    assert (told.status, told.error, len(scene.hosted.keys)) == (503, sentence, before)


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [
        ("locked", "does not take the router's key"),
        ("403", "does not take the router's key"),
        ("elsewhere", "leads elsewhere, where nobody is sent"),
    ],
)
def test_what_no_client_can_mend_is_told_in_our_words(scene: Scene, scenario: str, sentence: str) -> None:
    told = scene.router.chat("hosted", scenario)
    assert told.status == 502
    assert sentence in told.error
    assert told.headers.keys() & {"location", "www-authenticate"} == set()


def test_its_own_refusals_come_through(scene: Scene) -> None:
    told = scene.router.chat("hosted", "429")
    assert (told.status, told.json, told.headers["retry-after"]) == (429, {"error": {"message": "no"}}, "1")


def test_what_it_tells_of_its_host_does_not_hold_of_the_router(scene: Scene) -> None:
    told = scene.router.chat("hosted", "of-its-own")
    assert told.status == 200
    assert told.headers.keys() & {name.lower() for name in OF_ITS_OWN} == set()
    claimed = scene.router.chat("hosted", "claim")
    assert claimed.headers["x-anneal-version"] == "hosted"
    assert claimed.headers.keys() & {"x-anneal-variant", "x-exposure-id"} == set()


def test_streams_pass_and_what_breaks_is_recorded_so(scene: Scene) -> None:
    for scenario, outcome in (("stream", "complete"), ("cut", "broken"), ("stream-error", "broken")):
        told = scene.router.chat("hosted", scenario, X_User_Id="u")
        assert told.headers["content-type"].startswith("text/event-stream")
        assert scene.router.record_of(told.headers["x-exposure-id"])["outcome"] == outcome


def test_no_connection_to_it_is_used_twice(scene: Scene) -> None:
    """Those that are kept are told apart by address alone, and behind one there may be several backends."""
    before = scene.hosted.connections
    for _ in range(3):
        assert scene.router.chat("hosted").status == 200
    assert scene.hosted.connections - before == 3


def test_users_are_split_between_an_engine_and_a_backend(scene: Scene) -> None:
    told = scene.router.chat("split", X_User_Id="anna")
    assert (told.headers["x-anneal-variant"], told.headers["x-anneal-version"]) == ("tuned", "hosted")
    assert told.json["headers"]["Authorization"] == "Bearer hosted-key"
    nobody = scene.router.chat("split")
    assert (nobody.headers["x-anneal-variant"], nobody.headers["x-anneal-version"]) == ("stable", "own")
    assert nobody.json["headers"]["Authorization"] == "Bearer engine-key"
    assert nobody.json["path"] == "/v1/chat/completions"


def test_a_backend_that_is_nowhere_is_answered_for_by_the_control_as_the_control_is_asked(scene: Scene) -> None:
    told = scene.router.chat("split-gone", X_User_Id="anna")
    assert (told.status, told.headers["x-anneal-version"], told.headers["x-anneal-fallback"]) == (200, "own", "true")
    assert told.json["headers"]["Authorization"] == "Bearer engine-key"


def test_a_backend_never_gets_what_was_meant_for_an_engine(scene: Scene) -> None:
    before = len(scene.hosted.keys)
    assert scene.router.chat("split-to-hosted", X_User_Id="anna").status == 502
    assert len(scene.hosted.keys) == before, "an engine's key is in the request"


def test_a_backend_that_leads_back_is_asked_once(scene: Scene) -> None:
    """Without that, one request takes all of the router's connections."""
    known = len((scene.router.folder / "log").read_text())
    told = scene.router.chat("loop")
    assert (told.status, told.error) == (508, "the backend of `loop` leads back to this router")
    assert (scene.router.folder / "log").read_text()[known:] == ""
    marks = scene.router.chat("hosted", CDN_Loop="other-cdn").json["headers"]["CDN-Loop"]
    assert marks.startswith("other-cdn, anneal-")
    assert scene.router.chat("hosted", CDN_Loop=marks).status == 508
    assert scene.router.chat("own", CDN_Loop=marks).status == 200


def test_the_operator_alone_is_told_how_backends_stand(scene: Scene) -> None:
    assert scene.router.ask("/-/backends").json == {"backends": {}}
    told = {"backends": {"hosted": {"problem": "Unreachable", "message": "it is away"}}}
    (scene.router.folder / "backends.json").write_text(json.dumps(told))
    assert scene.router.ask("/-/backends").json == told
    assert scene.router.ask("/-/backends", Authorization="Bearer client").status == 401


def test_a_router_that_ends_finishes_a_backend_s_stream(tmp_path: Path) -> None:
    folder, trusted = tmp_path, authority(tmp_path)
    (folder / "keys" / "api").mkdir(parents=True)
    (folder / "keys" / "api" / "token").write_text("hosted-key")
    changes = {"/etc/ssl/certs/ca-certificates.crt": str(trusted.file), "/etc/anneal/backend-keys/": f"{folder}/keys/"}
    with hosted(trusted.context(HOST)) as api:
        models = {"hosted": ModelRoute(default="hosted", named={})}
        routes = RouteTable(targets={"hosted": _hosted(api.port)}, models=models)
        with standing(folder, changes, routes=routes) as router:
            router.write_endpoints({"hosted": [api.port]})
            assert poll(lambda: router.chat("hosted").status == 200, 5)
            with closing(http.client.HTTPConnection("127.0.0.1", router.port, timeout=20)) as connection:
                connection.request("POST", "/v1/chat/completions", '{"model":"hosted","scenario":"held"}')
                response = connection.getresponse()
                router.end()
                assert poll(lambda: not router.listens(), 10, every=0.02)
                api.go_on.set()
                assert '"finish_reason":"stop"' in response.read().decode()


def test_a_backend_that_hangs_leaves_the_others_their_connections(tmp_path: Path) -> None:
    """Nobody ends it, as the kubelet would an engine, and its clients wait for ten minutes."""
    with hosted(key="") as api, engine() as own:
        inner = {"scheme": "http", "host": "vllm.team.svc", "path": "/v1", "key": ""}
        targets = {"hangs": _hosted(8000, **inner), "own": Target(host="127.0.0.1", port=own.port, model="own")}
        routes = RouteTable(targets=targets, models={name: ModelRoute(default=name, named={}) for name in targets})
        with standing(tmp_path, {"1024": "2"}, routes=routes) as router, ThreadPoolExecutor(2) as clients:
            router.write_endpoints({"hangs": [api.port]})
            assert poll(lambda: router.chat("hangs").status == 200, 5)
            waiting = [clients.submit(router.chat, "hangs", "held") for _ in range(2)]
            assert poll(lambda: api.asked["held"] == 2, 5)
            told = router.chat("hangs")
            assert (told.status, told.error) == (503, "too many requests wait for the backend of `hangs`; try again")
            assert told.headers["retry-after"] == "1"
            assert router.chat("own").status == 200
            api.go_on.set()
            assert [one.result().status for one in waiting] == [200, 200]
            assert router.chat("hangs").status == 200


def test_a_router_takes_requests_once_it_knows_where_backends_are(tmp_path: Path) -> None:
    """As every one that begins with the routes of a moment ago, and looks the host up only then."""
    with hosted(key="") as api:
        inner = {"scheme": "http", "host": "vllm.team.svc", "path": "/v1", "key": ""}
        routes = RouteTable(targets={"v": _hosted(8000, **inner)}, models={"v": ModelRoute(default="v", named={})})
        with standing(tmp_path, {}, routes=routes) as router:
            assert router.ask("/health").status == 503
            told = router.chat("v")
            assert (told.status, told.error) == (503, "no pod of `v` is ready; try again")
            router.write_endpoints({"v": []})
            assert router.ask("/health").status == 503
            router.write_endpoints({"v": [api.port]})
            assert poll(lambda: router.ask("/health").status == 200, 5)
            router.write_endpoints({"v": []})
            assert poll(lambda: router.chat("v").status == 503, 5)
            assert router.ask("/health").status == 200, "it may be away for long, and the others' clients have no other"
