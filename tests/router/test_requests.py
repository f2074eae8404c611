"""What the router does to a request on its way to a model's server."""

import json
import socket
import time
from datetime import datetime
from typing import Any

import pytest

from serving_runtime.plan import (
    BUCKETS,
    FORMAT,
    PLAIN_FORMAT,
    ExperimentRoute,
    KeyRoute,
    ModelRoute,
    Stamp,
    VariantRoute,
    bucket,
)
from toolbox.polling import poll

from .stand import LINEAGE, SALT, Stand, standing, table

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize")
ABUSABLE = {
    "priority": -1,
    "vllm_xargs": {},
    "kv_transfer_params": {"a": 1},
    "ec_transfer_params": {"a": 1},
    "request_id": "mine",
    "session_id": "another's",
    "cache_salt": "x",
    "return_prompt_text": True,
    "prompt_logprobs": 0,
    "echo": True,
}
LOOKING_SECONDS = 0.025
"""How often a worker looks at the table: a tenth of routes.lua's PERIOD."""
USERS = [f"user-{number}" for number in range(300)] + ["사용자", "a b", "x" * 500]


@pytest.mark.parametrize(
    ("model", "version", "name"),
    [
        ("plain", "one", "engine-one"),
        ("plain@2", "two", "engine-two"),
        ("plain@production", "one", "engine-one"),
        ("alike", "alike", "alike"),
        ("known", "known", "known"),
        ("known@1", "known", "engine-known"),
    ],
)
def test_a_name_reaches_its_version(router: Stand, model: str, version: str, name: str) -> None:
    answer = router.chat(model)
    assert (answer.status, answer.headers["x-anneal-version"]) == (200, version)
    assert json.loads(answer.echoed)["model"] == name
    assert "x-exposure-id" not in answer.headers


@pytest.mark.parametrize(
    "body",
    [
        '{"messages": [], "model" : "plain", "n": 12345678901234567890}',
        '{"x": {"model": "Plain"}, "y": ["model", "Plain"], "z": "\\"model\\": \\"Plain\\"", "model":"plain"}',
        '{"model":"plain","s":"\\\\"}',
        '{"e":[],"o":{},"f":1.0,"model":"plain","k":"스팸😀"}',
        '{"mod\\u0065l":"plain"}',
        ' \r\n{"model":\t"plain"} \n',
        '{"model":"plain","priority":null,"echo":false,"long":"' + "x" * 100_000 + '"}',
        '{"long":"' + "x" * 100_000 + '","model":"plain","long2":"' + "y" * 100_000 + '"}',
    ],
    ids=range(8),
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_only_the_model_s_name_is_changed_in_the_body(router: Stand, body: str, chunked: bool) -> None:
    expected = body.replace('"plain"', '"engine-one"')
    assert (_chunked(router, body.encode()) if chunked else router.ask(body=body).json)["body"] == expected


def _chunked(router: Stand, body: bytes) -> Any:
    """Send a body in pieces of no known number."""
    pieces = [body[start : start + 10_007] for start in range(0, len(body), 10_007)]
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    sent = head + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return json.loads(router.raw(sent).partition(b"\r\n\r\n")[2])


def test_a_model_s_name_may_be_written_with_escapes(router: Stand) -> None:
    assert router.ask(body='{"model":"pl\\u0061in"}').echoed == '{"model":"engine-one"}'


@pytest.mark.parametrize("path", PATHS)
def test_a_model_is_asked_at_each_path_that_its_server_has(router: Stand, path: str) -> None:
    answer = router.ask(path, {"model": "plain"})
    assert (answer.status, answer.json["path"]) == (200, path)


@pytest.mark.parametrize(
    "written", ["/v1/chat/completions?x=/adapters", "/v1/../v1//chat/./completions", "/%761/chat/completions"]
)
def test_the_path_goes_on_as_it_was_understood(router: Stand, written: str) -> None:
    assert router.ask(written, {"model": "plain"}).json["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "request_", "status", "message"),
    [
        ("/v1/chat/completions", {"body": "{bad"}, 400, "the body is no JSON object as it should be: "),
        ("/v1/chat/completions", {"body": ""}, 400, "it is empty"),
        ("/v1/chat/completions", {"body": "[1]"}, 400, "it does not begin with `{`"),
        ("/v1/chat/completions", {"body": "{}"}, 400, "`model` must name a model"),
        ("/v1/chat/completions", {"body": '{"model": 5}'}, 400, "`model` must name a model"),
        ("/v1/chat/completions", {"body": '{"model": "' + "x" * 2000 + '"}'}, 400, "`model` must name a model"),
        ("/v1/chat/completions", {"body": '{"model": "plain", "model": "plain"}'}, 400, "`model` is there twice"),
        ("/v1/chat/completions", {"body": '{"model": "nobody"}'}, 404, "there is no model `nobody` here"),
        ("/v1/chat/completions", {"body": '{"model": "plain@9"}'}, 404, "no served version of `plain` is called `9`"),
        ("/v1/chat/completions", {"body": '{"model": "unborn"}'}, 404, "no version of `unborn` answers yet"),
        ("/v1/chat/completions", {}, 405, "use POST"),
        ("/v1/models", {"body": "{}"}, 405, "use GET"),
        ("/v1/models/plain", {"method": "DELETE"}, 405, "use GET"),
        ("/v1/models/nobody", {}, 404, "there is no model `nobody` here"),
        ("/v1/models/plain@9", {}, 404, "no served version of `plain` is called `9`"),
        ("/v1/responses/resp_1", {}, 404, "responses are not kept here"),
        ("/v1/responses/resp_1/cancel", {"body": "{}"}, 404, "responses are not kept here"),
        ("/v1/load_lora_adapter", {"body": "{}"}, 404, "there is nothing at this path"),
        ("/adapters", {"body": "{}"}, 404, "there is nothing at this path"),
        ("/invocations", {"body": "{}"}, 404, "there is nothing at this path"),
        ("/nowhere", {}, 404, "there is nothing at this path"),
        ("/v1/chat/completions%0a", {"body": "{}"}, 404, "there is nothing at this path"),
        ("/v1/chat/completions", {"body": "x" * 9_000_000}, 413, "the body is larger than 8 MiB"),
        ("/v1/feedback", {"body": "{}"}, 503, "the recorder takes nothing now; send this again"),
        ("/v1/feedback", {}, 405, "use POST"),
        ("/v1/feedback", {"body": "x" * 70_000}, 413, "feedback takes at most 64 KiB"),
    ],
)
def test_a_request_that_leads_nowhere_is_told_why(
    router: Stand, path: str, request_: dict[str, Any], status: int, message: str
) -> None:
    answer = router.ask(path, **request_)
    assert answer.status == status
    assert message in answer.error
    assert ("retry-after" in answer.headers) == (status in {502, 503})


@pytest.mark.parametrize(("field", "value"), ABUSABLE.items())
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_what_would_harm_other_users_is_refused_by_name(router: Stand, path: str, field: str, value: Any) -> None:
    answer = router.ask(path, {"model": "plain", field: value})
    assert (answer.status, answer.json["error"]["param"]) == (400, field)
    assert answer.error.startswith(f"`{field}` is not taken: ")
    assert router.ask(path, {"model": "plain", field: None}).status == 200


@pytest.mark.parametrize("value", ["true", "false", 1, 0, "on", {}, []])
def test_a_stream_is_true_or_false(router: Stand, value: Any) -> None:
    """The engine reads words and numbers as truths, too, and nothing would be counted of such a stream."""
    answer = router.ask(body={"model": "plain", "stream": value})
    assert (answer.status, answer.json["error"]["param"]) == (400, "stream")
    assert answer.error == "`stream` is true or false"
    counted = router.ask(body={"model": "plain", "stream": True, "stream_options": {"include_usage": value}})
    assert (counted.status, counted.json["error"]["param"]) == (400, "stream_options.include_usage")
    assert router.ask(body={"model": "plain", "stream": None}).status == 200


@pytest.mark.parametrize("field", ["regex", "grammar", "structural_tag"])
def test_what_holds_up_a_whole_server_is_refused_by_name(router: Stand, field: str) -> None:
    answer = router.ask(body={"model": "plain", "structured_outputs": {"json": {}, field: "(a+)+"}})
    assert (answer.status, answer.json["error"]["param"]) == (400, f"structured_outputs.{field}")
    taken = {"choice": ["a"], "json": {field: "(a+)+"}}
    assert router.ask(body={"model": "plain", "structured_outputs": taken}).status == 200


@pytest.mark.parametrize("written", ['"structural_tag"', '"structural\\u005ftag"'])
def test_a_format_of_an_answer_that_may_hide_a_grammar_is_refused_by_name(router: Stand, written: str) -> None:
    answer = router.ask(body=f'{{"model":"plain","response_format":{{"format":{{}},"type":{written}}}}}')
    assert (answer.status, answer.json["error"]["param"]) == (400, "response_format.type")
    assert "ask for a `json_schema`" in answer.error


@pytest.mark.parametrize("kind", ["text", "json_object", "json_schema", None, 5])
def test_other_formats_of_an_answer_are_taken(router: Stand, kind: str | int | None) -> None:
    asked = {"type": kind, "json_schema": {"name": "x", "schema": {"type": "structural_tag"}}}
    assert router.ask(body={"model": "plain", "response_format": asked}).status == 200
    assert router.ask(body={"model": "plain", "response_format": None}).status == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [("store", True), ("background", True), ("previous_response_id", "resp_1"), ("conversation", {"id": "c"})],
)
def test_responses_that_would_have_to_be_kept_are_refused(router: Stand, field: str, value: Any) -> None:
    answer = router.ask("/v1/responses", {"model": "plain", field: value})
    assert (answer.status, answer.json["error"]["param"]) == (400, field)
    assert "not kept here" in answer.error
    assert router.ask("/v1/responses", {"model": "plain", "store": False}).status == 200


def test_no_header_that_names_a_user_or_steers_a_server_goes_on(router: Stand) -> None:
    steering = ["X-Data-Parallel-Rank", "X-Vllm-Priority", "X-Request-Id", "X-Amzn-SageMaker-Adapter-Identifier"]
    naming = ["X-User-Id", "X-Session", "Authorization", "Cookie", "X-Forwarded-For"]
    sent = dict.fromkeys([*steering, *naming], "mine") | {"Traceparent": "00-1-2-01", "Accept": "text/event-stream"}
    answer = router.chat("split", **sent)
    names = {"Accept", "Authorization", "Content-Length", "Content-Type", "Host", "Traceparent", "X-Request-Id"}
    assert set(answer.json["headers"]) == names
    assert answer.json["headers"]["Authorization"] == "Bearer engine-key"
    assert answer.json["headers"]["X-Request-Id"] == answer.headers["x-exposure-id"]
    assert answer.json["headers"]["Content-Type"] == "application/json"


def test_lua_and_python_put_every_user_in_the_same_bucket(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An experiment with a variant for each bucket, so that an answer tells it."""
    arms = [VariantRoute(name=str(number), target="one", up_to=number + 1) for number in range(BUCKETS)]
    with standing(tmp_path_factory.mktemp("router")) as router:
        routes = table(router.engine.port, 0)
        experiment = ExperimentRoute(
            name="x", uid="uid", salt=SALT, keys=[KeyRoute(kind="header", name="x-user-id")], control="0", variants=arms
        )
        exact = ModelRoute(default="one", named={}, experiments=[experiment])
        router.write(routes.model_copy(update={"models": {"exact": exact}}))
        assert poll(lambda: router.chat("exact").status == 200, 5)
        answers = [router.chat("exact", X_User_Id=user.encode().decode("latin-1")) for user in USERS]
    assert [int(answer.headers["x-anneal-variant"]) for answer in answers] == [bucket(SALT, user) for user in USERS]
    assert len({answer.headers["x-exposure-id"] for answer in answers}) == len(USERS)


def test_who_names_nobody_gets_the_control_and_is_not_counted(router: Stand) -> None:
    for answer in (router.chat("split"), router.chat("split", X_User_Id="")):
        assert answer.headers["x-anneal-variant"] == "stable"
        assert "x-exposure-id" not in answer.headers


def test_the_first_header_that_is_there_names_the_user(router: Stand) -> None:
    answers = [router.chat("split", X_Session="s1"), router.chat("split", X_User_Id="u1", X_Session="s1")]
    arms = ["stable" if bucket(SALT, user) < 5000 else "tuned" for user in ("s1", "u1")]
    assert [answer.headers["x-anneal-variant"] for answer in answers] == arms


@pytest.mark.parametrize("again", [b"X-User-Id: b", b"x-uSER-iD: b", b"X-User-Id:"])
@pytest.mark.parametrize("others", [0, 200])
@pytest.mark.parametrize("model", ["split", "plain"])
def test_a_user_who_is_named_twice_is_refused(router: Stand, model: str, others: int, again: bytes) -> None:
    body = b'{"model":"%s"}' % model.encode()
    more = b"".join(b"X-%d: y\r\n" % number for number in range(others))
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-User-Id: a\r\n%s%s\r\n"
    told = router.raw(head % (more, again) + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    assert told.startswith(b"HTTP/1.1 400 ")
    error = json.loads(told.partition(b"\r\n\r\n")[2].split(b"\r\n")[1])["error"]
    assert (error["message"], error["param"]) == ("the header `x-user-id` is there twice: send it once", "x-user-id")


def test_models_are_listed_and_told_of(router: Stand) -> None:
    listed = [model["id"] for model in router.ask("/v1/models").json["data"]]
    assert listed == ["alike", "down", "known", "plain", "split", "split-down", "unborn"]
    created = int(datetime.fromisoformat(LINEAGE).timestamp())
    for name in ("plain", "plain@2", "plain%402"):
        told = {"id": name.replace("%40", "@"), "object": "model", "created": created, "owned_by": "anneal"}
        assert router.ask(f"/v1/models/{name}").json == told


def test_routes_are_told_without_salt_or_bounds_on_a_port_that_clients_do_not_use(router: Stand) -> None:
    routes = router.ask("/-/routes").json
    assert set(routes) == {"format", "lineage", "generation", "digest", "models"}
    assert routes["models"]["split"] == {"default": "one", "named": {}, "experiments": ["uid"]}
    assert routes["models"]["unborn"] == {"default": None, "named": {"1": "one"}}
    written = json.loads((router.folder / "routes.json").read_text())
    assert {name: routes[name] for name in Stamp.model_fields}.items() <= written.items()
    assert (routes["format"], written["format"]) == (FORMAT, PLAIN_FORMAT), "what it reads, and what it has"
    assert b"404" in router.raw(b"GET /-/routes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    "sent", ["", "Bearer ", "admin-key", "Bearer engine-key", "Bearer admin-key2", "Basic admin-key"]
)
@pytest.mark.parametrize("path", ["/-/routes", "/-/anything"])
def test_what_is_the_operator_s_is_told_to_whoever_has_its_key(router: Stand, path: str, sent: str) -> None:
    refused = router.ask(path, Authorization=sent)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "the key `adminKey`" in refused.error
    assert router.ask(path).status == (200 if path == "/-/routes" else 404)


def test_metrics_are_for_whoever_may_come_to_the_operator_s_port(router: Stand) -> None:
    def status(path: str) -> int:
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", router.admin_port), timeout=10) as connection:
            connection.sendall(request.encode())
            return int(connection.makefile("rb").readline().split()[1])

    assert status("/metrics") != 401
    others = ["/metrics/../-/routes", "/-/routes?/metrics", "/metrics%2f..%2f-/routes", "/metrics/x", "//metrics/../"]
    assert [status(path) for path in others] == [401] * len(others)


def test_a_new_table_holds_at_once_and_what_is_none_is_not_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    with standing(tmp_path_factory.mktemp("router"), workers=2) as router:
        renamed = table(router.engine.port, 0).model_copy(
            update={"models": {"renamed": ModelRoute(default="one", named={})}}
        )
        router.write(renamed)
        assert poll(lambda: all(router.chat("renamed").status == 200 for _ in range(20)), 5)
        time.sleep(2 * LOOKING_SECONDS)  # each worker has looked since: no answer says which of them gave it
        written = (router.folder / "log").read_text
        for number, text in enumerate(["{half", "[]", '{"models": {}}'], start=1):
            router.write(text)
            assert poll(lambda told=2 * number: written().count("keeping the last one") == told, 5)  # type: ignore[misc]
            assert router.chat("renamed").status == 200
        assert len(router.workers()) == 2
