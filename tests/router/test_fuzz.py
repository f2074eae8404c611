"""Whatever a client sends as a body: no worker dies, the answer is JSON, and the engine gets what was decided on.

That the head of a request and its framing may be anything, too, is shown in test_fuzz_http.py.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .bodies import agrees, bodies, parsed, status_of
from .stand import Stand
from .wire import Wire, chunked, is_error, post

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize")
FEW, MANY = 400, 20_000
SIZES = st.lists(st.sampled_from([1, 2, 3, 7, 64, 1000]), min_size=1, max_size=3)
REAL = {
    "/v1/chat/completions": {
        "model": "known",
        "messages": [
            {"role": "system", "content": 'say "no"\n\\'},
            {"role": "user", "content": [{"type": "text", "text": "스팸😀?"}]},
        ],
        "temperature": 0.7e-1,
        "n": -1,
        "stream": False,
        "stream_options": None,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [True, 1e9, []]}}},
        "user": "u\u0000\ud83d",
    },
    "/v1/responses": {"model": "known", "input": "hello", "store": False, "previous_response_id": None},
    "/v1/embeddings": {"model": "known", "input": [[1, 2, 3], []], "encoding_format": "float"},
}


def _often(times: int, check: Callable[..., None], *drawn: st.SearchStrategy[Any]) -> None:
    """Check so many examples: the same ones each time, where they are few."""
    settings(deadline=None, derandomize=times == FEW, max_examples=times, database=None)(given(*drawn)(check))()


@pytest.mark.parametrize("path", REAL)
@pytest.mark.parametrize("blanks", [False, True])
def test_a_request_that_is_cut_at_any_byte_is_refused(wire: Wire, path: str, blanks: bool) -> None:
    body = json.dumps(REAL[path], ensure_ascii=not blanks, indent=1 if blanks else None).encode(errors="replace")
    for cut in range(len(body)):
        wire.send(post(body[:cut], path))
        answer = wire.answer()
        assert answer.status == 400, body[:cut]
        assert is_error(answer)
    wire.send(post(body, path))
    answer = wire.answer()
    assert answer.echoed.encode() == body
    wire.assert_sound()


@pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_what_the_engine_gets_is_what_was_decided_on_whatever_is_written(wire: Wire, times: int) -> None:
    def check(body: bytes, path: str, sizes: list[int] | None) -> None:
        if sizes is None:
            wire.send(post(body, path))
        else:
            wire.send(post(b"", path, b"Transfer-Encoding: chunked", told=False) + chunked(body, sizes))
        answer = wire.answer()
        assert answer.status == status_of(body, path), answer.content
        if answer.status == 200:
            assert answer.json["path"] == path
            assert agrees(body, answer.echoed.encode(), path), answer.echoed
        else:
            assert is_error(answer)

    _often(times, check, bodies(), st.sampled_from(PATHS), st.none() | SIZES)
    wire.assert_sound()


@pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_bytes_that_mean_nothing_are_refused(wire: Wire, times: int) -> None:
    def check(body: bytes) -> None:
        wire.send(post(body))
        answer = wire.answer()
        assert answer.status == 400
        assert is_error(answer)

    _often(times, check, st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
    wire.assert_sound()


def _in(value: str, key: str = "x") -> bytes:
    return f'{{"model":"known","{key}":{value}}}'.encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_in("[" * 10_000), 400),
        (_in("[" * 10_000 + "]" * 10_000), 400),
        (_in('{"x":' * 10_000 + "1" + "}" * 10_000), 400),
        (b"[" * 100_000, 400),
        (b'{"model":' * 10_000, 400),
        (_in("[" * 255 + "]" * 255), 200),
        (_in("[" + "[]," * 300_000 + "[]]"), 200),
        (_in("9" * 100_000), 200),
        (_in("-0." + "0" * 100_000 + "1e-" + "9" * 1000), 200),
        (_in("1e" + "9" * 100_000 + "x"), 400),
        (_in("1" + "e" * 1000), 400),
        (_in("0" * 1000), 400),
        (_in("[" + "," * 100_000 + "]"), 400),
        (_in('"' + "\\" * 99_999 + '"'), 400),
        (_in('"' + "\\" * 100_000 + '"'), 200),
        (_in('"' + "\\ud800" * 10_000 + '"'), 200),
        (_in('"' + "\\ud800" * 100 + '"', "model2"), 200),
        (b'{"model":"\\ud800"}', 400),
        (b'{"model":"\\udc00\\ud800"}', 400),
        (b'{"model":"known\\u0000"}', 404),
        (b'{"model":"known\x00"}', 400),
        (b'{"model":"known"}\x00', 400),
        (b"\x00" * 50_000, 400),
        (b"\xef\xbb\xbf" + b'{"model":"known"}', 400),
        ('{"model":"known"}'.encode("utf-16"), 400),
        ('{"model":"known"}'.encode("utf-32-be"), 400),
        (b'{"model":"known"}{"model":"known"}', 400),
        (b'{"model":"known"}' + b" " * 100_000, 200),
        (b" " * 100_000 + b'{"model":"known"}', 200),
        (b" " * 100_000, 400),
        (b'[{"model":"known"}]', 400),
        (b'"known"', 400),
        (b"null", 400),
        (b"model=known&messages=1", 400),
        (b"", 400),
        (b"{'model':'known'}", 400),
        (b'{"model":"known",}', 400),
        (b'{"model":"known"/*x*/}', 400),
        (b'{model:"known"}', 400),
        (_in("NaN"), 400),
        (_in("-Infinity"), 400),
        (_in("+1"), 400),
        (_in("TRUE"), 400),
        (b'{"model":"known","' + b"\\u0061" * 21 + b'":1}', 200),
        (b'{"model":"known","' + b"\\u0061" * 22 + b'":1}', 400),
        (b'{"model":"' + b"\\u006b" * 200 + b'"}', 400),
        (b'{"model":"' + b"k" * 1000 + b'"}', 404),
        (b'{"model":["known"]}', 400),
        (b'{"model":{"known":"known"}}', 400),
        (b'{"model":"known@"}', 404),
        (b'{"model":"@1"}', 404),
        (b'{"model":""}', 404),
        (b'{"model":"known@1@1"}', 404),
    ],
    ids=range(53),
)
def test_a_strange_body_is_taken_as_it_is_or_refused(wire: Wire, body: bytes, status: int) -> None:
    wire.send(post(body))
    answer = wire.answer()
    assert answer.status == status, answer.content
    if status == 200:
        assert answer.json["length"] == str(len(body))
        assert len(body) > 1 << 19 or answer.echoed.encode() == body
    else:
        assert is_error(answer)
    wire.assert_sound()


@pytest.mark.parametrize(
    "pair",
    [
        ('"model":"known"', '"mod\\u0065l":"plain"'),
        ('"model":"known"', '"\\u006dodel":"known"'),
        ('"model":"known","stream":true', '"\\u0073tream":false'),
        ('"model":"known","user":"a"', '"user":"b"'),
        ('"model":"known","echo":false', '"ech\\u006F":true'),
        ('"model":"known","stream_options":{}', '"stream\\u005foptions":{"include_usage":true}'),
    ],
)
@pytest.mark.parametrize("padding", [0, 20_000], ids=["memory", "file"])
def test_a_key_that_is_there_twice_is_refused_however_it_is_written(
    wire: Wire, pair: tuple[str, str], padding: int
) -> None:
    body = (pair[0] + ',"x":"' + "x" * padding + '",' + pair[1]).join("{}").encode()
    assert parsed(body) is None
    wire.send(post(body))
    answer = wire.answer()
    assert (answer.status, "is there twice" in answer.error) == (400, True)
    wire.assert_sound()


@pytest.mark.parametrize("key", ["cache\\u005fsalt", "\\u0070riority", "\\u0065\\u0063\\u0068\\u006F"])
def test_a_key_that_is_refused_is_refused_however_it_is_written(wire: Wire, key: str) -> None:
    wire.send(post(f'{{"model":"known","{key}":1}}'.encode()))
    answer = wire.answer()
    name = json.loads(f'"{key}"')
    assert answer.error.startswith(f"`{name}` is not taken: ")


def test_a_name_that_only_looks_like_an_inner_one_is_no_business_of_the_router_s(wire: Wire) -> None:
    body = b'{"model":"known","structured_outputs.regex":"a","response_format.type":"structural_tag"}'
    wire.send(post(body))
    answer = wire.answer()
    assert (answer.status, answer.echoed.encode()) == (200, body)
    hidden = b'{"stream_options.include_usage":true,"model":"known","stream":true,"stream_options":{}}'
    wire.send(post(hidden))
    answer = wire.answer()
    assert json.loads(answer.echoed)["stream_options"] == {"include_usage": True}


def test_none_of_it_is_left_in_a_file(fuzzed: Stand) -> None:
    assert [path for path in Path(fuzzed.folder, "nginx-body").rglob("*") if path.is_file()] == []
