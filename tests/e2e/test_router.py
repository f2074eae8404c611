"""The router's nginx and Lua in their image, in front of a small server that repeats what it was asked.

All that the router does to a request and an answer is shown in tests/router, with the same nginx and no cluster; what a
real engine answers by the demo's test. Here is that it does so in its image, unprivileged.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving_runtime.plan import (
    ADMIN_KEY_VARIABLE,
    ENGINE_KEY_VARIABLE,
    TASKS_KEY_VARIABLE,
    USER_KEY_VARIABLE,
    ExperimentRoute,
    KeyRoute,
    ModelRoute,
    RouteTable,
    Target,
    VariantRoute,
    bucket,
)
from tests.support.pods import HARDENED, pod
from toolbox.polling import poll

from .conftest import Cluster

pytestmark = pytest.mark.node

ENGINE = """
import json, http.server
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = {"body": body.decode(), "type": self.headers["Content-Type"], "key": self.headers["Authorization"]}
        said = json.dumps(said).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(said))); self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Echo).serve_forever()
"""
SALT = "s"
KEYS = {
    ENGINE_KEY_VARIABLE: "engine-key",
    ADMIN_KEY_VARIABLE: "admin-key",
    USER_KEY_VARIABLE: "user-key",
    TASKS_KEY_VARIABLE: "tasks-key",
}


def _table() -> RouteTable:
    arms = [
        VariantRoute(name="stable", target="one", up_to=5000),
        VariantRoute(name="tuned", target="two", up_to=10000),
    ]
    experiment = ExperimentRoute(
        name="x",
        uid="uid",
        salt=SALT,
        keys=[KeyRoute(kind="header", name="x-user-id"), KeyRoute(kind="header", name="x-session")],
        control="stable",
        variants=arms,
    )
    targets = {name: Target(host="127.0.0.1", port=8000, model=f"engine-{name}") for name in ("one", "two")}
    targets["gone"] = Target(host="127.0.0.1", port=8001, model="engine-gone")
    return RouteTable(
        targets=targets,
        models={
            "plain": ModelRoute(default="one", named={"1": "one", "production": "one", "2": "two"}),
            "split": ModelRoute(default="one", named={}, experiments=[experiment]),
            "unborn": ModelRoute(default=None, named={"1": "one"}),
            "down": ModelRoute(default="gone", named={}),
        },
    )


def _document(table: RouteTable, generation: int) -> str:
    return json.dumps(table.document(table.stamped("2026-03-01T12:00:00Z", generation)))


@pytest.fixture(scope="module")
def router(running: Cluster, images: dict[str, str]) -> Iterator[Cluster]:
    """A pod of nginx with the table, and the echoing server beside it."""
    own = Cluster(running.layout, "router-test")
    own.kubectl("delete", "namespace", own.namespace, "--ignore-not-found", "--wait=true")
    own.kubectl("create", "namespace", own.namespace)
    own.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
    write = (
        "import pathlib, runpy; "
        f"pathlib.Path('/shared/routes.json').write_text({_document(_table(), 1)!r}); "
        "runpy.run_module('serving_runtime.router', run_name='__main__')"
    )
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in ("tmp", "shared")]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("tmp", "shared")]
    common = {
        "image": images["router"],
        "imagePullPolicy": "Never",
        "securityContext": HARDENED,
        "volumeMounts": mounts,
    }
    keys = [{"name": name, "value": value} for name, value in KEYS.items()]
    nginx = {"name": "main", "command": ["python", "-c", write], "env": keys, **common}
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
        "    request = urllib.request.Request(r.get('at', 'http://127.0.0.1:8080/v1/chat/completions'),"
        " data=r['body'].encode('utf-8', 'surrogatepass') if 'body' in r else None, headers=r.get('headers', {}))\n"
        "    try: response = urllib.request.urlopen(request, timeout=20)\n"
        "    except urllib.error.HTTPError as error: response = error\n"
        "    headers = {k.lower(): v for k, v in response.headers.items()}\n"
        "    return {'status': response.status, 'headers': headers, 'body': response.read().decode()}\n"
        "for _ in range(100):\n"
        "    try: ask({'at': 'http://127.0.0.1:8080/health'}); break\n"
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


def test_only_the_model_s_name_is_changed_in_the_body(router: Cluster) -> None:
    bodies = ['{"e":[],"o":{},"f":1.0,"model":"plain","k":"스팸😀"}', '{"x":"' + "x" * 200_000 + '","model":"plain"}']
    for body, answer in zip(bodies, _ask(router, [{"body": body} for body in bodies]), strict=True):
        echoed = json.loads(answer["body"])
        changed = body.replace('"plain"', '"engine-one"')
        assert echoed == {"body": changed, "type": "application/json", "key": "Bearer engine-key"}


def test_a_request_that_leads_nowhere_is_told_why(router: Cluster) -> None:
    requests = [_chat("nobody"), _chat("down"), {"body": "{bad"}, {"body": "x" * 9_000_000}]
    answers = _ask(router, requests)
    assert [json.loads(answer["body"])["error"]["code"] for answer in answers] == [404, 502, 400, 413]
    assert [answer["status"] for answer in answers] == [404, 502, 400, 413]


def test_lua_and_python_put_every_user_in_the_same_variant(router: Cluster) -> None:
    users = [f"user-{number}" for number in range(50)]
    answers = _ask(router, [_chat("split", **{"X-User-Id": user}) for user in users])
    given = [answer["headers"]["x-anneal-variant"] for answer in answers]
    assert given == ["stable" if bucket(SALT, user) < 5000 else "tuned" for user in users]
    assert len({answer["headers"]["x-exposure-id"] for answer in answers}) == len(users)


def test_an_exposure_is_one_line_with_the_user_only_as_a_hash(router: Cluster) -> None:
    answer = _ask(router, [_chat("split", **{"X-User-Id": "someone-secret"})])[0]
    exposure, written = answer["headers"]["x-exposure-id"], ""

    def is_written() -> bool:
        nonlocal written
        written = router.kubectl(
            "exec", "router", "-c", "main", "--", "sh", "-c", "cat /shared/records/*.jsonl || true"
        )
        return exposure in written

    assert poll(is_written, 10)
    mine = [json.loads(line) for line in written.splitlines() if exposure in line]
    told = [(line["experiment"], line["variant"], line["status"], line["outcome"]) for line in mine]
    assert told == [("uid", answer["headers"]["x-anneal-variant"], 200, "broken")]  # it tells no finish_reason
    assert "someone-secret" not in written


def test_models_and_routes_are_listed(router: Cluster) -> None:
    admin = {"at": "http://127.0.0.1:8082/-/routes"}
    known = {**admin, "headers": {"Authorization": f"Bearer {KEYS[ADMIN_KEY_VARIABLE]}"}}
    models, refused, routes = _ask(router, [{"at": "http://127.0.0.1:8080/v1/models"}, admin, known])
    assert refused["status"] == 401
    assert [model["id"] for model in json.loads(models["body"])["data"]] == ["down", "plain", "split", "unborn"]
    told = json.loads(routes["body"])
    assert (told["generation"], told["digest"]) == (1, _table().digest())
    assert "targets" not in json.loads(routes["body"])


def test_a_new_table_holds_within_a_second_without_a_reload(router: Cluster) -> None:
    table = _table().model_copy(update={"models": {"renamed": ModelRoute(default="one", named={})}})
    write = f"import pathlib; p = pathlib.Path('/shared/routes.draft'); p.write_text({_document(table, 2)!r}); "
    script = write + "p.replace('/shared/routes.json'); import time; time.sleep(1)"
    router.kubectl("exec", "router", "-c", "main", "--", "python", "-c", script)
    assert _ask(router, [_chat("renamed")])[0]["status"] == 200
    broken = "import pathlib; pathlib.Path('/shared/routes.json').write_text('{half'); import time; time.sleep(1)"
    router.kubectl("exec", "router", "-c", "main", "--", "python", "-c", broken)
    assert _ask(router, [_chat("renamed")])[0]["status"] == 200
