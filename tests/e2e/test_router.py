"""The router's nginx and Lua in their image, in front of a small server that repeats what it was asked.

What a real engine answers is shown by the demo's test; here is what the router does to a request.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving_runtime.plan import ExperimentRoute, ModelRoute, RouteTable, Target, VariantRoute, bucket
from tests.support.pods import HARDENED, pod

from .conftest import Cluster

pytestmark = pytest.mark.node

ENGINE = """
import json, http.server
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = json.dumps({"body": body.decode(), "type": self.headers["Content-Type"]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(said))); self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Echo).serve_forever()
"""
SALT = "s"


def _table() -> RouteTable:
    arms = [
        VariantRoute(name="stable", target="one", up_to=5000),
        VariantRoute(name="tuned", target="two", up_to=10000),
    ]
    experiment = ExperimentRoute(
        name="x", uid="uid", salt=SALT, headers=["x-user-id", "x-session"], control="stable", variants=arms
    )
    targets = {name: Target(host="127.0.0.1", port=8000, model=f"engine-{name}") for name in ("one", "two")}
    targets["gone"] = Target(host="127.0.0.1", port=8001, model="engine-gone")
    return RouteTable(
        targets=targets,
        models={
            "plain": ModelRoute(default="one", named={"1": "one", "production": "one", "2": "two"}),
            "split": ModelRoute(default="one", named={}, experiment=experiment),
            "unborn": ModelRoute(default=None, named={"1": "one"}),
            "down": ModelRoute(default="gone", named={}),
        },
    )


@pytest.fixture(scope="module")
def router(running: Cluster, images: dict[str, str]) -> Iterator[Cluster]:
    """A pod of nginx with the table, and the echoing server beside it."""
    own = Cluster(running.layout, "router-test")
    own.kubectl("delete", "namespace", own.namespace, "--ignore-not-found", "--wait=true")
    own.kubectl("create", "namespace", own.namespace)
    own.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    write = (
        "import os, pathlib, runpy; pathlib.Path('/data/exposures').mkdir(parents=True); "
        f"pathlib.Path('/shared/routes.json').write_text({json.dumps(_table().document())!r}); "
        "runpy.run_module('serving_runtime.router', run_name='__main__')"
    )
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("tmp", "shared", "data")]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("tmp", "shared", "data")]
    common = {
        "image": images["router"],
        "imagePullPolicy": "Never",
        "securityContext": HARDENED,
        "volumeMounts": mounts,
    }
    nginx = {"name": "main", "command": ["python", "-c", write], **common}
    manifest = pod("router", nginx, volumes=volumes)
    manifest["spec"]["containers"].append({"name": "engine", "command": ["python", "-c", ENGINE], **common})
    own.apply(manifest)
    own.wait_for_pod("router")
    own.kubectl("wait", "--for=condition=Ready", "pod/router", "--timeout=60s")
    yield own
    own.kubectl("delete", "namespace", own.namespace, "--wait=false")


def _ask(router: Cluster, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send requests from inside the pod, once nginx listens; each answer has status, headers and body."""
    script = (
        "import json, sys, time, urllib.request, urllib.error\n"
        "def ask(r):\n"
        "    request = urllib.request.Request('http://127.0.0.1:8080' + r.get('path', '/v1/chat/completions'),"
        " data=r['body'].encode('utf-8', 'surrogatepass') if 'body' in r else None, headers=r.get('headers', {}))\n"
        "    try: response = urllib.request.urlopen(request, timeout=20)\n"
        "    except urllib.error.HTTPError as error: response = error\n"
        "    headers = {k.lower(): v for k, v in response.headers.items()}\n"
        "    return {'status': response.status, 'headers': headers, 'body': response.read().decode()}\n"
        "for _ in range(100):\n"
        "    try: ask({'path': '/health'}); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "print(json.dumps([ask(r) for r in json.load(sys.stdin)]))\n"
    )
    command = ("exec", "-i", "router", "-c", "main", "--", "python", "-c", script)
    answers: list[dict[str, Any]] = json.loads(router.kubectl(*command, given=json.dumps(requests)))
    return answers


def _chat(model: str, **headers: str) -> dict[str, Any]:
    return {"body": json.dumps({"model": model, "messages": []}), "headers": headers}


@pytest.mark.parametrize(
    ("model", "version", "engine"),
    [("plain", "one", "engine-one"), ("plain@2", "two", "engine-two"), ("plain@production", "one", "engine-one")],
)
def test_a_name_reaches_its_version(router: Cluster, model: str, version: str, engine: str) -> None:
    answer = _ask(router, [_chat(model)])[0]
    assert (answer["status"], answer["headers"]["x-anneal-version"]) == (200, version)
    assert json.loads(json.loads(answer["body"])["body"])["model"] == engine
    assert "x-exposure-id" not in answer["headers"]


@pytest.mark.parametrize(
    "body",
    [
        '{"messages": [], "model" : "plain", "n": 12345678901234567890}',
        '{"x": {"model": "Plain"}, "y": ["model", "Plain"], "z": "\\"model\\": \\"Plain\\"", "model":"plain"}',
        '{"model":"plain","s":"\\\\"}',
        '{"e":[],"o":{},"f":1.0,"model":"plain","k":"스팸😀"}',
    ],
)
def test_only_the_model_s_name_is_changed_in_the_body(router: Cluster, body: str) -> None:
    answer = json.loads(_ask(router, [{"body": body}])[0]["body"])
    assert answer == {"body": body.replace('"plain"', '"engine-one"'), "type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"body": "{bad"}, 400, "the body is no JSON object"),
        ({"body": "[1]"}, 400, "`model` must name a model"),
        ({"body": '"text"'}, 400, "the body is no JSON object"),
        ({"body": "[" * 5000 + "]" * 5000}, 400, "the body is no JSON object"),
        ({"body": '{"model": 5}'}, 400, "`model` must name a model"),
        ({"body": '{"mod\\u0065l": "plain"}'}, 400, "write the key `model` once"),
        ({"body": '{"model": "nobody"}'}, 404, "there is no model `nobody` here"),
        ({"body": '{"model": "plain@9"}'}, 404, "no served version of `plain` is called `9`"),
        ({"body": '{"model": "unborn"}'}, 404, "no version of `unborn` answers yet"),
        ({"body": '{"model": "down"}'}, 503, "the model does not answer"),
        ({"path": "/v1/chat/completions"}, 405, "use POST"),
        ({"path": "/nowhere"}, 404, "there is nothing at this path"),
        ({"body": "x" * 9_000_000}, 413, ""),
    ],
)
def test_a_request_that_leads_nowhere_is_told_why(
    router: Cluster, request_: dict[str, Any], status: int, message: str
) -> None:
    answer = _ask(router, [request_])[0]
    assert answer["status"] == status
    if message:
        error = json.loads(answer["body"])["error"]
        assert message in error["message"]
        assert error["code"] == status


def test_lua_and_python_put_every_user_in_the_same_variant(router: Cluster) -> None:
    users = [f"user-{number}" for number in range(300)] + ["사용자", "a b", "x" * 500]
    answers = _ask(router, [_chat("split", **{"X-User-Id": user.encode().decode("latin-1")}) for user in users])
    given = [answer["headers"]["x-anneal-variant"] for answer in answers]
    assert given == ["stable" if bucket(SALT, user) < 5000 else "tuned" for user in users]
    assert len({answer["headers"]["x-exposure-id"] for answer in answers}) == len(users)


def test_who_names_nobody_gets_the_control_and_is_not_recorded(router: Cluster) -> None:
    answer = _ask(router, [_chat("split")])[0]
    assert answer["headers"]["x-anneal-variant"] == "stable"
    assert "x-exposure-id" not in answer["headers"]


def test_the_first_header_that_is_there_names_the_user(router: Cluster) -> None:
    headers = [{"X-Session": "s1"}, {"X-User-Id": "u1", "X-Session": "s1"}]
    answers = _ask(router, [_chat("split", **named) for named in headers])
    arms = ["stable" if bucket(SALT, user) < 5000 else "tuned" for user in ("s1", "u1")]
    assert [answer["headers"]["x-anneal-variant"] for answer in answers] == arms


def test_an_exposure_is_one_line_with_the_user_only_as_a_hash(router: Cluster) -> None:
    answer = _ask(router, [_chat("split", **{"X-User-Id": "someone-secret"})])[0]
    written = router.kubectl("exec", "router", "-c", "main", "--", "sh", "-c", "cat /data/exposures/*.jsonl")
    mine = [json.loads(line) for line in written.splitlines() if answer["headers"]["x-exposure-id"] in line]
    assert len(mine) == 1
    assert (mine[0]["experiment"], mine[0]["variant"], mine[0]["status"]) == (
        "uid",
        answer["headers"]["x-anneal-variant"],
        200,
    )
    assert "someone-secret" not in written


def test_models_and_routes_are_listed(router: Cluster) -> None:
    models, routes = _ask(router, [{"path": "/v1/models"}, {"path": "/-/routes"}])
    assert [model["id"] for model in json.loads(models["body"])["data"]] == ["down", "plain", "split", "unborn"]
    assert json.loads(routes["body"])["digest"] == _table().digest()
    assert "targets" not in json.loads(routes["body"])


def test_a_new_table_holds_within_a_second_without_a_reload(router: Cluster) -> None:
    table = _table().model_copy(update={"models": {"renamed": ModelRoute(default="one", named={})}})
    write = (
        f"import pathlib; p = pathlib.Path('/shared/routes.draft'); p.write_text({json.dumps(table.document())!r}); "
    )
    script = write + "p.replace('/shared/routes.json'); import time; time.sleep(1)"
    router.kubectl("exec", "router", "-c", "main", "--", "python", "-c", script)
    assert _ask(router, [_chat("renamed")])[0]["status"] == 200
    broken = "import pathlib; pathlib.Path('/shared/routes.json').write_text('{half'); import time; time.sleep(1)"
    router.kubectl("exec", "router", "-c", "main", "--", "python", "-c", broken)
    assert _ask(router, [_chat("renamed")])[0]["status"] == 200
