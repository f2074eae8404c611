"""What is large, slow or malformed costs the router neither its memory, nor its workers, nor other requests' time."""

import json
import re
import select
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolbox.polling import poll

from .stand import ROUTER, Stand, standing

FUZZED = settings(
    deadline=None, derandomize=True, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CLIENTS, BODY_BYTES = 200, 8 << 20
FINISHING = 40
"""Of them, eight at a time; the others leave."""
BOUND_BYTES = 64 << 20
"""What all of nginx may take while it holds so many bodies: a quarter of its container's memory."""
HOLDING = 500
CONTAINER_BYTES = 256 << 20
PIECE = b" " * (1 << 20)


def _head(length: int, *lines: bytes) -> bytes:
    start = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    return start + b"".join(line + b"\r\n" for line in lines) + b"Content-Length: %d\r\n\r\n" % length


def _status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1])


def _content(answered: bytes) -> bytes:
    """The body of an answer, of a known length or in pieces."""
    head, _, rest = answered.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    content = b""
    while rest and not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        content, rest = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return content


def _assert_json_or_nothing(answered: bytes) -> None:
    """Whatever is sent: an answer in JSON, or, to what ended too early, none."""
    if answered:
        assert isinstance(json.loads(_content(answered)), dict), answered


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _held_bytes(router: Stand) -> int:
    """What lies in nginx's files."""
    held = 0
    for file in (router.folder / "nginx-body").rglob("*"):
        with suppress(FileNotFoundError):  # it goes with its request
            held += file.stat().st_size if file.is_file() else 0
    return held


def test_many_large_bodies_at_once_stay_within_a_bound(tmp_path_factory: pytest.TempPathFactory) -> None:
    body = b'{"model":"plain","messages":[]'
    head, padding = _head(BODY_BYTES, b"Content-Type: application/json"), BODY_BYTES - len(body) - 1
    patient = {"client_body_timeout 30s;": "client_body_timeout 300s;"}
    with standing(tmp_path_factory.mktemp("router"), patient) as router:

        def begin(_: int) -> socket.socket:
            """Send all but the last byte: the body is held until that comes."""
            client = router.connect()
            client.sendall(head + body)
            for start in range(0, padding, len(PIECE)):
                client.sendall(PIECE[: padding - start])
            return client

        def finish(client: socket.socket) -> int:
            with client:
                client.sendall(b"}")
                return _status(b"".join(iter(lambda: client.recv(65536), b"")))

        with ThreadPoolExecutor(8) as some:
            clients = list(some.map(begin, range(CLIENTS)))
            assert router.chat().status == 200
            assert list(some.map(finish, clients[:FINISHING])) == [200] * FINISHING
        for client in clients:
            client.close()
        assert poll(lambda: _held_bytes(router) == 0, 10), "what clients left that went stays"
        assert max(_peak_bytes(pid) for pid in router.workers()) < BOUND_BYTES


def test_only_so_many_large_bodies_are_taken_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    chunked = _head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"fffff\r\n{"
    few = {"limit_conn bodies 256;": "limit_conn bodies 4;"}
    large, small = {"model": "plain", "x": "x" * 17_000}, {"model": "plain", "x": "x" * 15_000}
    with standing(tmp_path_factory.mktemp("router"), few, workers=2) as router:

        def is_refused() -> bool:
            return router.ask(body=large).status == 503

        with ExitStack() as clients:
            for sent in (_head(16_001) + b"{", _head(8 << 20) + b"{", chunked, chunked):
                clients.enter_context(router.connect()).sendall(sent)
            assert poll(is_refused, 5)
            answer = router.ask(body=large)
            assert (answer.status, answer.headers["retry-after"]) == (503, "1")
            assert "too many large bodies" in answer.error
            assert router.ask(body=small).status == 200
        assert poll(lambda: not is_refused(), 5)
        assert poll(lambda: any(line["status"] == 503 for line in router.records()), 5)


def test_feedback_of_no_told_length_is_refused_where_it_is_too_long(tmp_path_factory: pytest.TempPathFactory) -> None:
    head = b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with standing(tmp_path_factory.mktemp("router")) as router:
        (router.folder / "address").write_text(f"127.0.0.1:{router.engine.port}")
        assert poll(lambda: router.ask("/v1/feedback", {}).status == 200, 5)
        told = router.raw(head + b"%x\r\n%s\r\n0\r\n\r\n" % (70_000, b"x" * 70_000))
    assert _status(told) == 413
    assert b"feedback takes at most 64 KiB" in _content(told)


def test_as_many_clients_as_there_may_be_cannot_end_nginx_by_its_memory(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Each holds as much of it as one can: all headers' room, and the largest body that is no file."""
    settings_ = (ROUTER / "router.conf").read_text()
    buffer, most = (int(re.findall(rf"{name} (\d+)", settings_)[0]) for name in ("buffer_size", "worker_connections"))
    body = b'{"model":"plain"' + b" " * ((buffer << 10) * 5 // 4)
    head = _head(len(body), *(b"X-%d: %s" % (number, b"x" * 7900) for number in range(2)))
    with standing(tmp_path_factory.mktemp("router")) as router, ExitStack() as clients:
        (worker,) = router.workers()
        before = _peak_bytes(worker)
        for _ in range(HOLDING):
            clients.enter_context(router.connect()).sendall(head + body[: (buffer << 10) * 5 // 4 - 1])
        assert router.chat().status == 200
        assert before + (_peak_bytes(worker) - before) // HOLDING * most < CONTAINER_BYTES


def test_the_largest_body_is_changed_in_one_place(router: Stand) -> None:
    start, end = b'{"scenario":"sizes","text":"', b'","model":"plain"}'
    body = start + "스팸".encode() * ((BODY_BYTES - len(start) - len(end)) // 6) + end
    answer = router.ask(body=body)
    assert (answer.status, int(answer.json["length"])) == (200, len(body) + len("engine-one") - len("plain"))
    assert answer.echoed.endswith('스팸","model":"engine-one"}')


def test_others_are_answered_while_a_large_body_is_looked_through(router: Stand) -> None:
    body = b'{"model":"alike","messages":[' + b'{"a":"b"},' * 800_000 + b'{}],"model":1}'
    asked = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

    def is_other_first() -> bool:
        """Whether who asks right after the body's last byte is answered before that, which is refused at its end."""
        with router.connect() as large, router.connect() as other:
            large.sendall(_head(len(body)) + body[:-1])
            assert poll(lambda: _held_bytes(router) > len(body) - (1 << 17), 10, every=0.01)
            other.sendall(asked)
            assert _status(other.recv(65536)) == 200
            large.sendall(body[-1:])
            other.sendall(asked)
            first, _, _ = select.select([large, other], [], [], 30)
            assert _status(other.recv(65536)) == 200
            assert _status(large.recv(65536)) == 400
            return first == [other]

    assert sum(is_other_first() for _ in range(3)) >= 2


def test_a_slow_body_holds_up_nobody_and_is_given_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    quick = {"client_body_timeout 30s;": "client_body_timeout 1s;"}
    with standing(tmp_path_factory.mktemp("router"), quick) as router, router.connect() as slow:
        slow.sendall(_head(100) + b'{"model":')
        assert router.chat().status == 200
        assert slow.recv(65536) == b""
        assert poll(lambda: sorted(line["status"] for line in router.records()) == [200, 408], 5)


def test_requests_behind_one_another_are_answered_in_turn(router: Stand) -> None:
    good, bad = b'{"model":"plain"}', b'{"model":'
    parts = [(good, 200), (bad, 400), (good, 200), (b"", 400), (good, 200)]
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
    sent = b"".join(head % (len(body), body) for body, _ in parts)
    told = router.raw(sent + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert [int(part[:3]) for part in told.split(b"HTTP/1.1 ")[1:]] == [*(status for _, status in parts), 200]


LINES = st.sampled_from(
    [
        b"Host: x",
        b"Host: y",
        b"Content-Length: 5",
        b"Content-Length: 6",
        b"Content-Length: -1",
        b"Content-Length: x",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Expect: 100-continue",
        b"Connection: keep-alive",
        b"X-User-Id: a",
        b"X-User-Id: \xff\xfe",
        b"Content-Encoding: gzip",
        b"Upgrade: h2c",
        b"Bad Header: x",
        b": x",
        b"x",
    ]
)
BODIES = st.sampled_from(
    [b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n", b"5\r\n{}", b"ffffffffffffffff\r\n", b"-1\r\n\r\n"]
)
TARGETS = st.sampled_from(
    [b"/v1/chat/completions", b"/v1/models/%00", b"*", b"/\xff", b"/v1/models/" + b"x" * 9000, b"/%2e%2e/"]
)


@FUZZED
@given(
    method=st.sampled_from([b"POST", b"GET", b"PUT", b"post", b"P\x00ST", b"CONNECT"]),
    target=TARGETS,
    lines=st.lists(LINES, max_size=5),
    body=BODIES,
)
def test_a_request_that_is_hardly_http_is_answered_in_json_or_not_at_all(
    router: Stand, method: bytes, target: bytes, lines: list[bytes], body: bytes
) -> None:
    head = method + b" " + target + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines)
    with router.connect() as client:
        client.sendall(head + b"\r\n" + body)
        client.shutdown(socket.SHUT_WR)
        answered = b"".join(iter(lambda: client.recv(65536), b""))
    _assert_json_or_nothing(answered.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))
