"""The scanner of a body's top-level keys reads exactly what Python's parser reads, whatever the pieces are."""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools.nginx import installed

_FOLDER = Path(__file__).parent
_ROUTER = _FOLDER.parents[1] / "serving_runtime/router"
WANTED = ("model", "user", "stream", "stream_options", "messages")
SCANNED = settings(
    deadline=None, derandomize=True, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass
class Scanner:
    """Lua's side, asked line by line."""

    process: subprocess.Popen[bytes]

    def scan(self, body: bytes, size: int = 1 << 16) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"%d %d\n%s" % (len(body), size, body))
        self.process.stdin.flush()
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def values(self, body: bytes, size: int = 1 << 16) -> dict[str, Any] | None:
        """The values found, by key; None where the body is refused."""
        told = self.scan(body, size)
        if "refused" in told:
            assert told["refused"]
            return None
        return {name: json.loads(body[found["first"] : found["last"]]) for name, found in dict(told["found"]).items()}


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    """One process for all bodies: none of them ends it."""
    nginx = installed()
    lua = {**nginx.environment, "LUA_PATH": f"{_ROUTER}/?.lua;{nginx.environment['LUA_PATH']}"}
    command = [*nginx.command("usr/bin/luajit"), str(_FOLDER / "scan.lua")]
    environment = {**os.environ, **lua}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        yield Scanner(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=10) == 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = dict(pairs)
    made["\0twice"] = len(made) < len(pairs)
    return made


def _refuse(word: str) -> None:
    raise ValueError(word)


def expected(body: bytes) -> dict[str, Any] | None:
    """What Python's parser makes of the body; None where that is no object, or a key is there twice."""
    try:
        text = body.decode()
        parsed = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (RecursionError, ValueError):
        return None
    if not isinstance(parsed, dict) or text.startswith("\ufeff"):
        return None
    outer = parsed.get("outer")
    inner = {f"outer.{name}": value for name, value in outer.items()} if isinstance(outer, dict) else {}
    if parsed["\0twice"] or inner.get("outer.\0twice"):
        return None
    plain = json.loads(text)
    found = {name: plain[name] for name in WANTED if name in plain}
    if "outer.inner" in inner:
        found["outer.inner"] = plain["outer"]["inner"]
    return found


KEYS = st.sampled_from([*WANTED, "outer", "inner", "outer.inner", "messages", "Model", "모델"]) | st.text(max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=6)


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """An object as somebody writes it: with or without blanks, line breaks and escapes, of keys, too."""
    indent = draw(st.sampled_from([None, 0, 2]))
    separators = draw(st.sampled_from([(",", ":"), (" ,\t", " :\r\n")]))
    text = json.dumps(draw(OBJECTS), ensure_ascii=draw(st.booleans()), indent=indent, separators=separators)
    for letter in draw(st.sets(st.sampled_from("mod"), max_size=2)):
        if draw(st.booleans()):
            text = text.replace(f'"{letter}', f'"\\u{ord(letter):04x}')
    return text.encode("utf-8", "surrogatepass")


ROLES = st.sampled_from(["user", "system", "assistant", "users", None, 1, ["user"], {"role": "user"}])
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["content", "name", "roles"]), VALUES, max_size=3).flatmap(
        lambda message: ROLES.map(lambda role: {**message, "role": role, "more": {"role": "user"}})
    )
    | VALUES.filter(lambda value: not isinstance(value, dict)),
    max_size=5,
)


@SCANNED
@given(messages=MESSAGES, indent=st.sampled_from([None, 1]), size=st.sampled_from([1, 3, 1 << 16]))
def test_the_end_of_the_first_message_of_a_user_is_found(
    scanner: Scanner, messages: list[Any], indent: int | None, size: int
) -> None:
    body = json.dumps({"messages": messages, "model": "m", "tools": messages}, indent=indent).encode()
    found = scanner.scan(body, size)["found"]["messages"]
    users = [i for i, message in enumerate(messages) if isinstance(message, dict) and message["role"] == "user"]
    assert ("turn" in found) == bool(users)
    if users:
        assert json.loads(body[found["first"] : found["turn"]] + b"]") == messages[: users[0] + 1]


BROKEN = st.sampled_from(
    [
        b"",
        b'"',
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"0",
        b"-",
        b".",
        b"e",
        b"\0",
        b"\x1f",
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x82",
        b'"model":1,',
        b'"mod\\u0065l":2,',
        b"tru",
        b"NaN",
        b"\\u12",
        b"\xef\xbb\xbf",
        b" ",
    ]
)


@SCANNED
@given(body=written(), size=st.sampled_from([1, 2, 3, 7, 1 << 16]))
def test_what_is_found_is_what_a_parser_finds(scanner: Scanner, body: bytes, size: int) -> None:
    assert scanner.values(body, size) == expected(body)


@SCANNED
@given(
    body=written(), broken=st.lists(st.tuples(st.integers(0, 200), BROKEN, st.integers(0, 3)), min_size=1, max_size=3)
)
def test_what_is_broken_is_refused_where_a_parser_refuses_it(
    scanner: Scanner, body: bytes, broken: list[tuple[int, bytes, int]]
) -> None:
    for at, piece, instead_of in broken:
        at %= len(body) + 1
        body = body[:at] + piece + body[at + instead_of :]
    assert scanner.values(body, 5) == expected(body)


@SCANNED
@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_json_end_nothing(scanner: Scanner, body: bytes) -> None:
    assert scanner.values(body) == expected(body)


@pytest.mark.parametrize(
    ("body", "sentence", "key"),
    [
        (b"", "it is empty", None),
        (b" \n", "it ends too early", None),
        (b"[]", "it does not begin with `{` (at byte 1)", None),
        (b'\xef\xbb\xbf{"model":"m"}', "it does not begin with `{` (at byte 1)", None),
        ('{"model":"m"}'.encode("utf-16-le"), "something stands where JSON has nothing (at byte 2)", None),
        (b'{"model":"m"', "it ends too early", None),
        (b'{"model":"m"} {}', "something stands behind its end (at byte 15)", None),
        (b'{"model":"m","model":"m"}', "the key `model` is there twice: write it once", "model"),
        (b'{"n":1,"n":2}', "the key `n` is there twice: write it once", "n"),
        (b'{"model":"m","mod\\u0065l":"m"}', "the key `model` is there twice: write it once", "model"),
        (b'{"outer":{"a":1,"\\u0061":2}}', "the key `outer.a` is there twice: write it once", "outer.a"),
        (b'{"a":[}', "no value where one is due (at byte 7)", None),
        (b'{"a":[1}', "something stands where JSON has nothing (at byte 8)", None),
        (b'{"a":"\xff"}', "a string that is no UTF-8, or holds a control character (at byte 7)", None),
        (b'{"a":"\n"}', "a string that is no UTF-8, or holds a control character (at byte 7)", None),
        (b'{"a":"\\x"}', "an escape that JSON does not know (at byte 8)", None),
        (b'{"a":nul}', "a word that JSON does not know (at byte 9)", None),
        (b'{"a":01}', "a number that JSON does not know (at byte 7)", None),
        (b'{"a":' + b"[" * 256, "more than 256 levels (at byte 261)", None),
        (b'{"' + b"k" * 129 + b'":1}', "a key of more than 128 bytes (at byte 132)", None),
        (json.dumps(dict.fromkeys(map(str, range(257)))).encode(), "more than 256 keys (at byte 3224)", None),
    ],
)
def test_the_sentence_says_what_is_wrong_and_where(
    scanner: Scanner, body: bytes, sentence: str, key: str | None
) -> None:
    for size in (1, 4, 1 << 16):
        assert scanner.scan(body, size) == {"refused": sentence, **({"key": key} if key else {})}


def test_only_a_short_value_s_text_is_kept(scanner: Scanner) -> None:
    body = json.dumps({"model": "m", "user": "u" * 2000}).encode()
    found = scanner.scan(body, 100)["found"]
    assert found["model"]["text"] == 3
    assert "text" not in found["user"]


def test_as_many_keys_and_levels_as_there_may_be(scanner: Scanner) -> None:
    body = json.dumps({str(number): 1 for number in range(255)} | {"model": "m"}).encode()
    assert scanner.values(body) == {"model": "m"}
    assert scanner.values(b'{"model":"m","a":' + b"[" * 255 + b"]" * 255 + b"}") == {"model": "m"}
