"""Who is in which experiment, by what a request says of its user: the router's Lua, before a server that is played."""

import base64
import hmac
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import (
    USER_KEY_VARIABLE,
    ExperimentRoute,
    KeyRoute,
    LayerRoute,
    ModelRoute,
    OverrideRoute,
    RouteTable,
    Target,
    VariantRoute,
    covered,
    places,
)
from toolbox.polling import poll

from .stand import KEYS, SALT, Answer, Stand, standing

GOLDEN = Path(__file__).parents[1] / "serving_runtime/golden/places.json"
ARMS = [
    VariantRoute(name="stable", target="one", up_to=5000),
    VariantRoute(name="tuned", target="two", up_to=10_000),
]
HEADER = [KeyRoute(kind="header", name="x-user-id")]
PLACES = """
    location = /-/places {
      content_by_lua_block {
        local assignment, cjson = require "assignment", require "cjson"
        ngx.req.read_body()
        local told = {}
        for i, pair in ipairs(cjson.decode(ngx.req.get_body_data() or io.open(ngx.req.get_body_file()):read("*a"))) do
          told[i] = { assignment.places(pair[1] .. ":", pair[2]) }
        end
        ngx.say(cjson.encode(told))
      }
    }
"""
_ROUTES = "    location = /-/routes {"


def _experiment(name: str = "x", **changes: Any) -> ExperimentRoute:
    made = ExperimentRoute(name=name, uid=f"uid-{name}", salt=SALT, keys=HEADER, control="stable", variants=ARMS)
    return made.model_copy(update=changes)


EVERY = _experiment(
    keys=[
        KeyRoute(kind="header", name="x-user-id"),
        KeyRoute(kind="cookie", name="sid"),
        KeyRoute(kind="body", name="user"),
    ]
)
BODY = _experiment("body", keys=[KeyRoute(kind="body", name="user"), KeyRoute(kind="header", name="x-user-id")])
SMALL = _experiment("ramp", covered=covered(20, 5), epoch=2)
TESTED = _experiment("tested", override=OverrideRoute(header="x-variant", users=["t1", "테스터"]))
BAKING = _experiment(
    "baking",
    control="tuned",
    variants=[ARMS[0].model_copy(update={"up_to": 1000}), ARMS[1].model_copy(update={"up_to": 10_000})],
)
BETWEEN = _experiment(  # the control's buckets begin in the middle
    "between",
    control="tuned",
    variants=[
        VariantRoute(name="tuned", target="two", up_to=5000),
        VariantRoute(name="stable", target="one", up_to=6000),
        VariantRoute(name="tuned", target="two", up_to=10_000),
    ],
)
LAYERS = [
    _experiment("a", salt="team/a", layer=LayerRoute(salt="team/layers/l", begin=0, end=4000)),
    _experiment(
        "b",
        salt="team/b",
        layer=LayerRoute(salt="team/layers/l", begin=4000, end=7000),
        covered=covered(50),
        epoch=1,
    ),
]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    models = {
        "every": [EVERY],
        "body": [BODY],
        "ramp": [SMALL],
        "tested": [TESTED],
        "baking": [BAKING],
        "between": [BETWEEN],
        "layers": LAYERS,
    }
    with standing(tmp_path_factory.mktemp("router"), {_ROUTES: PLACES + _ROUTES}) as stand:
        target = Target(host="127.0.0.1", port=stand.engine.port, model="m")
        routes = {
            name: ModelRoute(default="three", named={"1": "one"}, experiments=split) for name, split in models.items()
        }
        stand.write(RouteTable(targets=dict.fromkeys(("one", "two", "three"), target), models=routes))
        assert _until_served(stand)
        yield stand
        assert "stack traceback" not in (stand.folder / "log").read_text()


def _until_served(stand: Stand) -> bool:
    return poll(lambda: stand.chat("every").status == 200, 5)


def _asked(router: Stand, model: str, body: str = "", **headers: str) -> Answer:
    return router.ask("/v1/chat/completions", f'{{"model":"{model}"{body},"scenario":"echo"}}', **headers)


def _line(router: Stand, answer: Answer) -> dict[str, Any]:
    return router.record_of(answer.json["headers"]["X-Request-Id"])


def _hashed(user: str) -> str:
    digest = hmac.digest(KEYS[USER_KEY_VARIABLE].strip().encode(), user.encode(), "sha1")
    return base64.b64encode(digest).decode()


def _latin(user: str) -> str:
    return user.encode().decode("latin-1")


def test_lua_has_the_golden_places(router: Stand) -> None:
    rows = json.loads(GOLDEN.read_text())
    told = router.ask("/-/places", [[row["salt"], row["user"]] for row in rows]).json
    assert told == [[row["bucket"], row["second"]] for row in rows]


def test_lua_and_python_give_20000_users_the_same_places(router: Stand) -> None:
    users = [["team/layers/l", f"사용자-{number}"] for number in range(20_000)]
    told = router.ask("/-/places", users).json
    assert told == [list(places(salt, user)) for salt, user in users]


@pytest.mark.parametrize(
    ("body", "headers", "user"),
    [
        ("", {"X_User_Id": "h", "Cookie": "sid=c"}, "h"),
        (',"user":"b"', {"X_User_Id": "h", "Cookie": "sid=c"}, "h"),
        (',"user":"b"', {"Cookie": "sid=c"}, "c"),
        (',"user":"b"', {"X_User_Id": "", "Cookie": "sid="}, "b"),
        (',"user":"b"', {"Cookie": "other=1; xsid=2; sid2=3"}, "b"),
        # cookies
        ("", {"Cookie": "a=1; sid=c ; b=2"}, "c"),
        ("", {"Cookie": "a=sid=1;sid=c"}, "c"),
        ("", {"Cookie": "a=b sid=1; sid=c"}, "c"),
        ("", {"Cookie": 'sid="c"'}, '"c"'),
        ("", {"Cookie": "SID=c"}, None),
        ("", {"Cookie": "sid"}, None),
        # fields
        (',"user":"\\u0062"', {}, "b"),
        (',"us\\u0065r":"b"', {}, "b"),
        (',"user":"사용자"', {}, "사용자"),
        (',"user":""', {}, None),
        (',"user":null', {}, None),
        (',"nested":{"user":"b"}', {}, None),
        # of what the header names nothing else is looked at
        (',"user":1', {"X_User_Id": "h"}, "h"),
    ],
)
def test_the_first_source_that_says_who_it_is_names_the_user(
    router: Stand, body: str, headers: dict[str, str], user: str | None
) -> None:
    answer = _asked(router, "every", body, **headers)
    line = _line(router, answer)
    assert line.get("user") == (_hashed(user) if user else None)
    assert (line.get("experiment"), "x-exposure-id" in answer.headers) == ("uid-x" if user else None, bool(user))
    told = EVERY.assigned(user) if user else ("stable", False)
    assert told is not None
    assert answer.headers["x-anneal-variant"] == told[0]
    assert set(answer.json["headers"]) & {"Cookie", "X-User-Id"} == set()


@pytest.mark.parametrize(
    ("body", "headers", "param", "message"),
    [
        ("", {"Cookie": "sid=a; sid=a"}, "sid", "the cookie `sid` is there twice: send it once"),
        ("", {"Cookie": "sid=; x=1; sid=b"}, "sid", "the cookie `sid` is there twice: send it once"),
        ("", {"X_User_Id": "h", "Cookie": "sid=a;sid=b"}, "sid", "the cookie `sid` is there twice: send it once"),
        (',"user":7', {}, "user", "`user` must be a string of 1,022 bytes at most"),
        (',"user":{"id":"a"}', {}, "user", "`user` must be a string of 1,022 bytes at most"),
        (',"user":["a"]', {}, "user", "`user` must be a string of 1,022 bytes at most"),
        (',"user":true', {}, "user", "`user` must be a string of 1,022 bytes at most"),
        (',"user":"\\ud83d"', {}, "user", "`user` must be a string of 1,022 bytes at most"),
        (f',"user":"{"a" * 1023}"', {}, "user", "`user` must be a string of 1,022 bytes at most"),
    ],
)
def test_who_cannot_be_told_is_refused(
    router: Stand, body: str, headers: dict[str, str], param: str, message: str
) -> None:
    answer = _asked(router, "every", body, **headers)
    assert (answer.status, answer.error, answer.json["error"]["param"]) == (400, message, param)


def test_cookies_of_several_headers_are_read_and_one_in_two_of_them_is_refused(router: Stand) -> None:
    def status(*cookies: bytes) -> bytes:
        body = b'{"model":"every","scenario":"echo"}'
        told = b"".join(b"Cookie: %s\r\n" % cookie for cookie in cookies)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s"
        return router.raw(head % (told, len(body), body))

    assert b"X-Exposure-Id" in status(b"a=1", b"sid=c")
    assert status(b"sid=a", b"sid=b").startswith(b"HTTP/1.1 400 ")


def test_a_field_that_is_there_twice_is_refused_by_the_scanner(router: Stand) -> None:
    for again in (',"user":"a","user":"b"', ',"user":"a","us\\u0065r":"b"'):
        answer = _asked(router, "every", again)
        assert (answer.status, answer.json["error"]["param"]) == (400, "user")
        assert "is there twice" in answer.error


def test_the_order_is_the_experiment_s_and_a_large_body_is_read_as_a_small_one(router: Stand) -> None:
    for padding in ("", f',"x":"{"y" * 40_000}"'):
        answer = _asked(router, "body", f'{padding},"user":"b"', X_User_Id="h")
        assert _line(router, answer)["user"] == _hashed("b")


def test_who_does_not_take_part_yet_gets_the_control_and_is_recorded_outside_of_the_experiment(router: Stand) -> None:
    users = [f"user-{number}" for number in range(60)]
    found: Counter[Any] = Counter()
    for user in users:
        answer = _asked(router, "ramp", X_User_Id=user)
        line, told = _line(router, answer), SMALL.assigned(user)
        assert told is not None
        assert (answer.headers["x-anneal-variant"], line.get("experiment")) == (
            told[0],
            "uid-ramp" if told[1] else None,
        )
        assert (line.get("epoch"), line["user"]) == (2 if told[1] else None, _hashed(user))
        found[told] += 1
    assert set(found) == {("stable", True), ("tuned", True), ("stable", False)}


def test_each_experiment_of_a_layer_has_its_own_users_and_the_default_the_others(router: Stand) -> None:
    found: Counter[Any] = Counter()
    for user in [f"user-{number}" for number in range(80)]:
        answer = _asked(router, "layers", X_User_Id=user)
        line, told = _line(router, answer), [(one.uid, one.assigned(user)) for one in LAYERS]
        owners = [(uid, place) for uid, place in told if place]
        assert len(owners) < 2
        uid, (variant, takes_part) = owners[0] if owners else ("", ("", False))
        assert answer.headers.get("x-anneal-variant", "") == variant
        assert answer.headers["x-anneal-version"] == {"stable": "one", "tuned": "two", "": "three"}[variant]
        assert line.get("experiment", "") == (uid if takes_part else "")
        assert line["user"] == _hashed(user)
        found[uid, takes_part] += 1
    assert set(found) == {("uid-a", True), ("uid-b", True), ("uid-b", False), ("", False)}


def test_who_names_nobody_is_in_no_layer(router: Stand) -> None:
    answer = _asked(router, "layers")
    assert (answer.headers["x-anneal-version"], "x-anneal-variant" in answer.headers) == ("three", False)
    assert not {"user", "experiment", "variant"} & set(_line(router, answer))


def test_a_tester_chooses_and_counts_nowhere(router: Stand) -> None:
    for user in ("t1", "테스터"):
        for asked in ("stable", "tuned", "", None):
            chosen = {} if asked is None else {"X_Variant": asked}
            answer = _asked(router, "tested", X_User_Id=_latin(user), **chosen)
            told = TESTED.assigned(user)
            assert told is not None
            assert answer.headers["x-anneal-variant"] == (asked or told[0])
            assert "x-exposure-id" not in answer.headers
            line = _line(router, answer)
            assert (line["tester"], line["experiment"], line["variant"]) == (True, "uid-tested", asked or told[0])
            assert "user" not in line
            assert "X-Variant" not in answer.json["headers"]


def test_nobody_else_chooses(router: Stand) -> None:
    for user in [f"user-{number}" for number in range(10)]:
        told = TESTED.assigned(user)
        assert told is not None
        for asked in ("stable", "tuned", "no such variant"):
            answer = _asked(router, "tested", X_User_Id=user, X_Variant=asked)
            assert answer.headers["x-anneal-variant"] == told[0]
            assert "x-exposure-id" in answer.headers
    assert _asked(router, "tested", X_Variant="tuned").headers["x-anneal-variant"] == "stable"


def test_a_tester_who_asks_for_no_variant_of_the_experiment_is_told_so(router: Stand) -> None:
    answer = _asked(router, "tested", X_User_Id="t1", X_Variant="best")
    assert (answer.status, answer.error) == (400, "there is no variant `best`")
    assert answer.json["error"]["param"] == "x-variant"


def test_no_key_is_told_to_servers_or_written_down(router: Stand) -> None:
    for headers, body in (
        ({"Cookie": "sid=secret-c"}, ""),
        ({"X_User_Id": "secret-h"}, ""),
        ({}, ',"user":"secret-b"'),
    ):
        answer = _asked(router, "every", body, **headers)
        line = _line(router, answer)
        assert "secret" not in json.dumps(line)
        assert "secret" not in json.dumps(answer.json["headers"])
    assert "secret" not in (router.folder / "log").read_text()


@pytest.mark.parametrize("split", [BAKING, BETWEEN], ids=["baking", "between"])
def test_while_a_winner_bakes_some_of_the_control_s_users_stay_and_all_others_get_it(
    router: Stand, split: ExperimentRoute
) -> None:
    found: Counter[str] = Counter()
    for user in (None, *(f"사용자-{number}" for number in range(120))):
        answer = _asked(router, split.name, **({"X_User_Id": _latin(user)} if user else {}))
        told = split.assigned(user) if user else ("tuned", False)
        assert told is not None
        assert answer.headers["x-anneal-variant"] == told[0]
        assert answer.headers["x-anneal-version"] == {"stable": "one", "tuned": "two"}[told[0]]
        assert _line(router, answer).get("experiment") == (split.uid if told[1] else None)
        found[told[0]] += 1
    assert 0 < found["stable"] < found["tuned"] / 3
