"""The router's benchmark reads what its clients and wrk say, and sums it up, as the README tells."""

import socket
import threading
from dataclasses import replace

import pytest

from benchmarks.router import figures
from benchmarks.router.figures import ANNEAL, LEAST_LUA, UPSTREAM, Figures
from benchmarks.router.messages import LARGE_BYTES, is_whole, large_body, question
from benchmarks.router.open_loop import latencies
from benchmarks.router.saturation import parse
from benchmarks.router.streams import Counter
from toolbox.commands import CommandError

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = HEAD + b'10\r\ndata: {"a":1}\n\n\r\n10\r\ndata: {"a":2}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
DIRECT = Figures(
    per_cpu_second=100_000,
    per_second=99_000,
    busy=0.99,
    p50=0.1,
    p99=0.5,
    p99_beside_large=2.0,
    large_per_second=60,
    chunks_per_cpu_second=180_000,
    resting_mib=20,
    peak_mib=25,
)


@pytest.mark.parametrize("cut", range(12, len(STREAM)))
def test_chunks_are_counted_once_wherever_they_are_cut(cut: int) -> None:
    counter = Counter()
    for _ in range(2):
        assert not counter.feed(STREAM[:cut])
        assert counter.feed(STREAM[cut:])
    assert counter.chunks == 4


@pytest.mark.parametrize("piece", [b"", b"HTTP/1.1 503 Service Unavailable\r\n"])
def test_a_stream_that_is_none_ends_the_benchmark(piece: bytes) -> None:
    with pytest.raises(ConnectionError):
        Counter().feed(piece)


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (WHOLE, True),
        (WHOLE.replace(b"Content-Length", b"content-length"), True),
        (WHOLE[:-1], False),
        (STREAM, True),
        (STREAM[:-1], False),
        (HEAD[:-4], False),
        (b"", False),
    ],
)
def test_an_answer_is_whole_by_its_length_or_its_last_piece(answer: bytes, whole: bool) -> None:
    assert is_whole(answer) is whole


def test_a_large_body_is_a_chat_of_8_mb() -> None:
    assert len(large_body()) == LARGE_BYTES
    assert large_body().startswith(question("user-0")[:50])


def test_what_wrk_did_is_its_last_line() -> None:
    assert parse('Running 2s test\n\n{"requests": 90, "seconds": 2.5, "failed": 0}\n') == (90, 2.5)


def test_requests_that_failed_are_no_figure() -> None:
    with pytest.raises(CommandError, match="3 of 90 requests failed"):
        parse('{"requests": 90, "seconds": 2.5, "failed": 3}')


def test_a_request_does_not_wait_for_those_before_it() -> None:
    """The server answers the first when the third has come, on a connection each."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            clients = [server.accept()[0] for _ in range(3)]
            for client in clients:
                assert client.recv(65536).startswith(b"POST /v1/chat/completions")
            for client in clients:
                client.sendall(WHOLE)
                client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        found = latencies(server.getsockname()[1], 50.0, 0.06)
        thread.join()
    assert len(found) == 3
    assert max(found) > 0.04  # the first, from when it was due


def test_an_answer_other_than_200_ends_the_benchmark() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                client.sendall(WHOLE.replace(b"200 OK", b"500 Bad"))

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionError, match="500 Bad"):
            latencies(server.getsockname()[1], 50.0, 0.02)
        thread.join()


def _rounds() -> list[dict[str, Figures]]:
    lua = replace(DIRECT, per_cpu_second=50_000, p50=0.3, p99=1.5, p99_beside_large=4.5, chunks_per_cpu_second=120_000)
    found = []
    for number in range(3):
        ours = replace(lua, per_cpu_second=40_000 + 1000 * number, p50=0.32, p99=2.0, resting_mib=60 + number)
        found.append({UPSTREAM: DIRECT, LEAST_LUA: lua, ANNEAL: ours})
    return found


def test_latency_is_what_is_added_to_the_engines_own() -> None:
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in figures.table(_rounds()).splitlines()}
    assert rows[f"| {ANNEAL}"][0] == "41,000 (40,000 to 42,000)"
    assert rows[f"| {ANNEAL}"][3:6] == [
        "0.220 (0.220 to 0.220)",
        "1.50 (1.50 to 1.50)",
        "4.00 (4.00 to 4.00)",
    ]
    assert [cell.split(" ")[0] for cell in rows[f"| {UPSTREAM}"][3:6]] == ["0.100", "0.500", "2.00"]


def test_goals_are_ratios_within_a_round_and_only_of_what_was_measured() -> None:
    assert figures.goals(_rounds()).splitlines()[2:] == [
        "| requests per CPU s / nginx + least Lua | >= 0.75 | 0.820 (0.800 to 0.840) |",
        "| added p50 / nginx + least Lua | <= 1.3 | 1.10 (1.10 to 1.10) |",
        "| added p99 / nginx + least Lua | <= 1.5 | 1.50 (1.50 to 1.50) |",
        "| added p99 beside 8 MB bodies / nginx + least Lua | <= 3 | 1.00 (1.00 to 1.00) |",
        "| SSE chunks per CPU s / nginx + least Lua | >= 0.95 | 1.00 (1.00 to 1.00) |",
        "| nginx and agent at rest, MiB | <= 100 | 61.0 (60.0 to 62.0) |",
    ]


def test_there_is_no_ratio_to_a_latency_that_noise_made_less_than_nothing() -> None:
    (one, *_) = _rounds()
    found = {**one, LEAST_LUA: replace(one[LEAST_LUA], p50=0.09)}
    (line,) = (line for line in figures.goals([found]).splitlines() if "added p50" in line)
    assert line == f"| added p50 / {LEAST_LUA} | <= 1.3 | no ratio: 0.220 beside -0.0100 |"
