"""Whatever a client makes of HTTP: each request has one answer, in its turn and in JSON, and none is smuggled in."""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from socket import SHUT_WR

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .stand import Answer, Stand, standing
from .wire import Wire, chunked, is_error, post, wired

FEW, MANY = 400, 20_000
ASKED = b'{"model":"known","scenario":"echo"}'
HIDDEN = post(b'{"model":"known","scenario":"smuggled"}')
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
CHUNKED, TOLD = b"Transfer-Encoding: chunked\r\n", b"Content-Length: %d\r\n" % len(ASKED)
IN_CHUNKS = chunked(ASKED, [10])


def _assert_none_is_smuggled(router: Stand, answers: Sequence[Answer], statuses: Sequence[int]) -> None:
    assert [answer.status for answer in answers] == list(statuses), answers
    assert all(answer.status == 200 or is_error(answer) for answer in answers)
    assert router.engine.asked["smuggled"] == 0


@pytest.mark.parametrize(
    ("head", "body", "statuses"),
    [
        (TOLD + CHUNKED, ASKED, [400]),
        (CHUNKED + TOLD, IN_CHUNKS, [400]),
        (b"Content-Length: 4\r\n" + CHUNKED, b"0\r\n\r\n", [400]),
        (b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n", [400]),
        (CHUNKED + CHUNKED, IN_CHUNKS, [400]),
        (b"Transfer-Encoding: xchunked\r\n", IN_CHUNKS, [501]),
        (b"Transfer-Encoding: chunked, identity\r\n", IN_CHUNKS, [501]),
        (b"Transfer-Encoding: gzip, chunked\r\n", IN_CHUNKS, [501]),
        (b"Transfer-Encoding: identity\r\n", IN_CHUNKS, [501]),
        (b"Transfer-Encoding:\r\n", IN_CHUNKS, [501]),
        (b"Transfer-Encoding : chunked\r\n", IN_CHUNKS, [400]),
        (b"Transfer-Encoding: \x0bchunked\r\n", IN_CHUNKS, [501]),
        (b"Transfer-Encoding:\r\n chunked\r\n", IN_CHUNKS, [400]),
        (b"X: y\r\n Transfer-Encoding: chunked\r\n", IN_CHUNKS, [400]),
        (b"X: y\rTransfer-Encoding: chunked\r\n", IN_CHUNKS, [400]),
        (b"Content-Length: 0\r\n" + TOLD, ASKED, [400]),
        (TOLD + TOLD, ASKED, [400]),
        (b"Content-Length: 5, 5\r\n", ASKED, [400]),
        (b"Content-Length: +5\r\n", ASKED, [400]),
        (b"Content-Length: -5\r\n", ASKED, [400]),
        (b"Content-Length: 0x5\r\n", ASKED, [400]),
        (b"Content-Length: 5.0\r\n", ASKED, [400]),
        (b"Content-Length:\r\n", ASKED, [400]),
        (b"Content-Length: 9999999999999999999999\r\n", ASKED, [400]),
        (b"Content-Length: 9999999999\r\n", b"", [413]),
        (b"Content-Length : 35\r\n", ASKED, [400]),
        (b"Content_Length: 35\r\nContent-Length: 2\r\n", b"{}", [400]),
    ],
    ids=range(27),
)
def test_a_body_s_end_is_told_in_one_way_or_the_request_is_refused(
    fuzzed: Stand, wire: Wire, head: bytes, body: bytes, statuses: list[int]
) -> None:
    """What would be another request, were the end elsewhere, is none."""
    wire.send(CHAT + head + b"\r\n" + body + (b"" if b"Content_Length" in head else HIDDEN), is_last=True)
    _assert_none_is_smuggled(fuzzed, wire.answers(), statuses)


@pytest.mark.parametrize(
    "body",
    [
        b"23\r\n" + ASKED + b"\r\n0\r\n\r\n",
        b"0023\r\n" + ASKED + b"\r\n0000\r\n\r\n",
        b"23;name=value\r\n" + ASKED + b"\r\n0;x\r\n\r\n",
        b"23\r\n" + ASKED + b"\r\n0\r\nX-User-Id: a\r\nContent-Length: 5\r\n\r\n",
        b"23\n" + ASKED + b"\n0\n\n",
    ],
)
@pytest.mark.parametrize("name", [b"chunked", b"Chunked"])
def test_a_body_in_pieces_of_any_form_is_put_together(wire: Wire, body: bytes, name: bytes) -> None:
    wire.send(CHAT + b"Transfer-Encoding: " + name + b"\r\n\r\n" + body)
    assert wire.answer().echoed.encode() == ASKED
    wire.assert_sound()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"0\r\n\r\n", 400),
        (b"22\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"25\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"0x23\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"-1\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"+23\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"zz\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (ASKED, 400),
        (b"ffffffffffffffff\r\n" + ASKED, 400),
        (b"10000000000000023\r\n" + ASKED + b"\r\n0\r\n\r\n", 400),
        (b"23\r\n" + ASKED + b"0\r\n\r\n", 400),
        (b"900000\r\n" + ASKED, 413),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("at_once", [True, False], ids=["at-once", "in-two"])
def test_a_body_in_broken_pieces_is_refused_and_nothing_behind_it_is_a_request(
    fuzzed: Stand, wire: Wire, body: bytes, status: int, at_once: bool
) -> None:
    head, tail = CHAT + CHUNKED + b"\r\n", b"" if body == b"0\r\n\r\n" else HIDDEN
    if at_once:
        wire.send(head + body + tail, is_last=True)
    else:
        wire.send(head + body[:1])
        wire.send(body[1:] + tail, is_last=True)
    _assert_none_is_smuggled(fuzzed, wire.answers(), [status])


UNREAD = [
    ("PUT", "/v1/chat/completions", 405),
    ("DELETE", "/v1/responses", 405),
    ("GET", "/v1/completions", 405),
    ("POST", "/v1/chat/completions", 400),
    ("POST", "/v1/models", 405),
    ("POST", "/v1/models/known", 405),
    ("GET", "/v1/models", 200),
    ("GET", "/v1/models/known", 200),
    ("GET", "/v1/models/nobody", 404),
    ("POST", "/v1/responses/resp_1/cancel", 404),
    ("DELETE", "/v1/responses/resp_1", 404),
    ("PUT", "/v1/feedback", 405),
    ("POST", "/v1/feedback", 503),
    ("GET", "/health", 200),
    ("POST", "/health", 200),
    ("POST", "/nowhere", 404),
    ("PATCH", "/", 503),
]


@pytest.mark.parametrize("form", ["told", "chunked", "large", "later"])
@pytest.mark.parametrize(("method", "path", "status"), UNREAD)
def test_a_body_that_nobody_reads_is_no_request(
    fuzzed: Stand, wire: Wire, method: str, path: str, status: int, form: str
) -> None:
    body = HIDDEN * (1 if form != "large" else 400)
    if form == "chunked":
        wire.send(post(b"", path, CHUNKED[:-2], method=method, told=False) + chunked(body, [50]))
    elif form == "later":
        sent = post(body, path, method=method)
        wire.send(sent[: -len(body)])
        wire.send(body)
    else:
        wire.send(post(body, path, method=method))
    answer = wire.answer()
    _assert_none_is_smuggled(fuzzed, [answer], [status])
    wire.assert_sound()
    assert fuzzed.engine.asked["smuggled"] == 0


REQUESTS = [
    (post(b'{"model":"known","n":1}'), 200),
    (post(b'{"model":"plain","stream":true}'), 200),
    (post(b'{"model":"nobody"}'), 404),
    (post(b'{"model":'), 400),
    (post(b""), 400),
    (post(b'{"model":"known","echo":1}'), 400),
    (post(b"", "/v1/chat/completions", CHUNKED[:-2], told=False) + IN_CHUNKS, 200),
    (post(b'{"model":"known"}', "/nowhere"), 404),
    (post(b'{"model":"known"}', method="PUT"), 405),
    (post(b"", "/v1/models", method="GET", told=False), 200),
    (post(b"", "/health", method="GET"), 200),
    (post(b'{"model":"known","x":"' + b"x" * 40_000 + b'"}'), 200),
]


@pytest.mark.parametrize("times", [FEW // 10, pytest.param(MANY // 10, marks=pytest.mark.soak)])
def test_requests_that_come_in_one_packet_or_in_pieces_are_each_answered_in_turn(fuzzed: Stand, times: int) -> None:
    def check(chosen: list[int], size: int) -> None:
        sent = b"".join(REQUESTS[number][0] for number in chosen)
        with wired(fuzzed) as wire:
            for start in range(0, len(sent), size):
                wire.send(sent[start : start + size])
            for number in chosen:
                answer = wire.answer()
                assert answer.status == REQUESTS[number][1]
                assert answer.status == 200 or is_error(answer)
            wire.assert_sound()

    chosen = st.lists(st.integers(0, len(REQUESTS) - 1), min_size=2, max_size=12)
    drawn = given(chosen, st.sampled_from([200, 1000, 1 << 20]))
    settings(deadline=None, derandomize=times < FEW, max_examples=times, database=None)(drawn(check))()


def test_each_of_many_requests_in_one_packet_has_its_own_answer(wire: Wire) -> None:
    bodies = [b'{"model":"known","n":%d}' % number for number in range(200)]
    wire.send(b"".join(map(post, bodies)))
    for body in bodies:
        answer = wire.answer()
        assert answer.echoed.encode() == body


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"GET /v1/models HTTP/1.1\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x/y\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX y: z\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n: z\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n", [400]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\n" + b"X: %s\r\n" % (b"x" * 6000) * 5 + b"\r\n", [400]),
        (b"GET /v1/models/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [414]),
        (b"GET /v1/models/" + b"x" * 7000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", [404]),
        (b"GET /v1/models HTTP/1.1\nHost: x\n\n", [200]),
        (b"\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.9\r\nHost: x\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n", [505]),
        (b"GET /v1/models HTTP/x\r\nHost: x\r\n\r\n", [400]),
        (b"GET  /v1/models  HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
        (b"GET /v1/models JTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [400]),
        (b"\x00\x01\x02\x03\r\n\r\n", [400]),
        (b"get /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"M-SEARCH /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
        (b"FOO /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
        (b"A" * 5000 + b" /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"OPTIONS /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
        (b"TRACE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [405]),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
        (b"GET http://y/v1/models HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nRange: bytes=5-1\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\nAccept: text/html\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nIf-Match: x\r\n\r\n", [412]),
        (b"GET /v1/models HTTP/1.1\r\nHost: x\r\nExpect: nothing\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\nHost: \xff\r\n\r\n", [200]),
        (b"GET /v1/models HTTP/1.1\r\n" + b"X: y\r\n" * 900 + b"Host: x\r\n\r\n", [200]),
    ],
    ids=range(38),
)
def test_a_head_of_any_kind_is_answered_in_json(fuzzed: Stand, wire: Wire, sent: bytes, statuses: list[int]) -> None:
    wire.send(sent, is_last=True)
    answers = wire.answers()
    assert [answer.status for answer in answers] == statuses, answers
    assert all(isinstance(answer.json, dict) for answer in answers)
    assert all(answer.status == 200 or is_error(answer) for answer in answers)
    assert fuzzed.engine.asked["smuggled"] == 0


@pytest.mark.parametrize("path", ["/v1/models", "/nowhere", "/health", "/v1/chat/completions"])
def test_who_asks_for_a_head_alone_gets_no_body(wire: Wire, path: str) -> None:
    wire.send(post(b"", path, method="HEAD", told=False))
    answer = wire.answer("HEAD")
    assert answer.headers["content-type"] == "application/json"
    wire.assert_sound()


def test_who_speaks_the_oldest_http_gets_json_alone(wire: Wire) -> None:
    wire.send(b"GET /v1/models\r\n")
    assert json.loads(wire.file.read())["object"] == "list"


@pytest.mark.parametrize(
    ("version", "lines", "body", "status"),
    [
        (b"1.0", b"", ASKED, 200),
        (b"1.0", b"Connection: keep-alive\r\n", ASKED, 200),
        (b"1.1", b"Connection: close\r\n", ASKED, 200),
        (b"1.1", b"Expect: 100-continue\r\n", ASKED, 200),
        (b"1.1", b"Expect: 100-continue\r\n", b"{", 400),
        (b"1.1", b"Content-Encoding: gzip\r\n", ASKED, 200),
        (b"1.1", b"Content-Type: multipart/form-data; boundary=x\r\n", ASKED, 200),
        (b"1.1", b"X-User-Id: \xff\xfe\r\nX-Session: " + b"s" * 5000 + b"\r\n", ASKED, 200),
        (b"1.1", b"Traceparent: \xff\r\nTracestate: \t,;=\r\nAccept: \x7f\r\n", ASKED, 200),
        (b"1.1", b"If-Match: x\r\nIf-Unmodified-Since: x\r\nRange: bytes=0-1\r\n", ASKED, 200),
    ],
    ids=range(10),
)
def test_a_request_with_strange_lines_is_answered_like_any_other(
    wire: Wire, version: bytes, lines: bytes, body: bytes, status: int
) -> None:
    head = CHAT.replace(b"1.1", version) + lines
    wire.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = wire.answer()
    assert answer.status == status
    assert answer.echoed.encode() == body if status == 200 else is_error(answer)
    if answer.headers["connection"] == "keep-alive":
        wire.assert_sound()
    else:
        assert wire.answers() == []


def test_a_body_that_waits_to_be_asked_for_is_asked_for(wire: Wire) -> None:
    sent = post(ASKED, "/v1/chat/completions", b"Expect: 100-continue")
    wire.send(sent[: -len(ASKED)])
    assert [wire.file.readline() for _ in range(2)] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
    wire.send(ASKED)
    assert wire.answer().echoed.encode() == ASKED


@pytest.mark.parametrize("name", ["x-user-id", "X-USER-ID", "X-User-Id"])
@pytest.mark.parametrize("values", [["a", "b"], ["a", "a"], ["", ""], ["", "a"]])
def test_a_user_who_is_named_twice_is_refused_and_the_connection_is_kept(
    wire: Wire, name: str, values: list[str]
) -> None:
    wire.send(post(b'{"model":"split"}', "/v1/chat/completions", *(f"{name}: {value}".encode() for value in values)))
    answer = wire.answer()
    assert (answer.status, answer.json["error"]["param"]) == (400, "x-user-id")
    wire.assert_sound()


PIECES = st.sampled_from(
    [
        *(
            "/",
            "//",
            "/.",
            "/..",
            "/%2e%2e",
            "/%2E",
            ";",
            ";a=b",
            "?",
            "?x=/v1/models",
            "#",
            "%2f",
            "%5c",
            "\\",
            "%00",
            "%0a",
        ),
        *(
            "%ff",
            "%c3%28",
            "%ed%a0%80",
            "%ec%8a%a4",
            "%",
            "%zz",
            "%25",
            "+",
            "~",
            "@",
            "*",
            "v1",
            "/v1",
            "/chat",
            "/completions",
        ),
        *(
            "/models",
            "/models/",
            "known",
            "known%401",
            "/responses",
            "/health",
            "/tokenize",
            "/feedback",
            "/-/routes",
            "/metrics",
        ),
    ]
)
KNOWN = {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings", "/tokenize", "/detokenize"}


@pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_a_path_however_it_is_written_leads_to_what_there_is_or_nowhere(fuzzed: Stand, times: int) -> None:
    def check(start: str, pieces: list[str], method: str) -> None:
        with fuzzed.connect() as connection, connection.makefile("rb") as file:
            wire = Wire(connection, file)
            wire.send(post(ASKED, start + "".join(pieces), method=method))
            answer = wire.answer(method)
            if answer.status == 200:
                assert "path" not in answer.json or answer.json["path"] in KNOWN
                assert method == "POST" or "path" not in answer.json
            else:
                assert answer.status in {400, 404, 405, 414, 503}
                assert is_error(answer)
                answer.content.decode()
            if answer.headers.get("connection") != "close":
                wire.assert_sound()

    starts = st.sampled_from(["/", "/v1", "/v1/models/", "/v1/chat/completions", "/v1/responses"])
    drawn = given(starts, st.lists(PIECES, max_size=4), st.sampled_from(["POST", "GET"]))
    settings(deadline=None, derandomize=times == FEW, max_examples=times, database=None)(drawn(check))()


@pytest.mark.parametrize("name", ["%ff", "%c3%28", "%ed%a0%80", "x%ff" + "y" * 1000, "%f0%9f%98"])
def test_a_name_in_a_path_that_is_no_text_is_told_of_in_json(wire: Wire, name: str) -> None:
    wire.send(post(b"", f"/v1/models/{name}", method="GET", told=False))
    answer = wire.answer()
    assert answer.status == 404
    assert is_error(answer)
    answer.content.decode()
    wire.assert_sound()


def test_a_request_that_comes_byte_by_byte_is_answered_like_any_other(wire: Wire) -> None:
    for sent in (post(ASKED), post(b"", "/v1/chat/completions", CHUNKED[:-2], told=False) + chunked(ASKED, [1])):
        for position in range(len(sent)):
            wire.send(sent[position : position + 1])
        answer = wire.answer()
        assert answer.echoed.encode() == ASKED


def test_who_stops_in_the_middle_is_given_up_and_holds_up_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    quick = {
        "client_body_timeout 30s;": "client_body_timeout 1s;",
        "client_header_timeout 15s;": "client_header_timeout 1s;",
    }
    in_chunks = post(b"", "/v1/chat/completions", CHUNKED[:-2], told=False) + IN_CHUNKS
    starts = [b"P", post(ASKED)[:40], post(ASKED)[:-1], in_chunks[:-2], in_chunks[:-40], post(ASKED) + post(ASKED)[:-1]]
    with standing(tmp_path_factory.mktemp("router"), quick) as router, ExitStack() as stack:
        wires = [stack.enter_context(wired(router)) for _ in starts]
        for wire, start in zip(wires, starts, strict=True):
            wire.send(start)
        begun = time.monotonic()
        assert router.chat().status == 200
        told = [[answer.status for answer in wire.answers()] for wire in wires]
        assert told == [[]] * (len(starts) - 1) + [[200]]
        assert time.monotonic() - begun < 5


def test_who_leaves_in_the_middle_costs_nothing(fuzzed: Stand) -> None:
    for sent in (post(ASKED), post(b"", "/v1/chat/completions", CHUNKED[:-2], told=False) + IN_CHUNKS):
        for cut in range(0, len(sent), 5):
            with fuzzed.connect() as connection:
                connection.sendall(sent[:cut])
                if cut % 2:
                    connection.shutdown(SHUT_WR)
    with wired(fuzzed) as wire:
        wire.assert_sound()


@pytest.mark.parametrize("told", [True, False], ids=["length", "chunked"])
def test_a_body_beyond_the_limit_is_refused_and_not_read_to_its_end(fuzzed: Stand, told: bool) -> None:
    body = b'{"model":"known","x":"' + b"x" * (9 << 20) + b'"}'
    with wired(fuzzed) as wire:
        if told:
            wire.send(post(body) + HIDDEN, is_last=True)
        else:
            wire.send(
                post(b"", "/v1/chat/completions", CHUNKED[:-2], told=False) + chunked(body, [1 << 16]) + HIDDEN,
                is_last=True,
            )
        _assert_none_is_smuggled(fuzzed, wire.answers(), [413])
