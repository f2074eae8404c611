"""A client that sends tools to a model without a place for them is told so, in its API's own form of error."""

import asyncio
import json
from typing import Any

import pytest

from serving_runtime.keys import Message, Receive, Send
from serving_runtime.without_tools import REFUSAL_VARIABLE, WithoutTools

TOLD = "the model's chat template has no place for `tools`"
AUTO = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
NAMED = 'tool_choice=function "toll" requires --tool-call-parser to be set'
OPENAI = {"type": "BadRequestError", "param": None, "code": 400}


def _passed(status: int, *parts: bytes, scope: str = "http") -> list[Message]:
    """What a client gets of an answer in parts."""
    sent: list[Message] = []

    async def engine(_: Message, __: Receive, send: Send) -> None:
        length = str(sum(map(len, parts))).encode()
        headers = [(b"content-type", b"application/json"), (b"Content-Length", length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    asyncio.run(_call(WithoutTools(engine), {"type": scope, "method": "POST", "path": "/v1/messages"}, receive, send))
    return sent


async def _call(app: WithoutTools, scope: Message, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


@pytest.fixture(autouse=True)
def _refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REFUSAL_VARIABLE, TOLD)


@pytest.mark.parametrize("said", [AUTO, NAMED])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"error": OPENAI}, {"error": OPENAI | {"param": "tools"}}),
        (
            {"type": "error", "error": {"type": "invalid_request_error"}},
            {"type": "error", "error": {"type": "invalid_request_error"}},
        ),
    ],
)
def test_a_refusal_of_tools_is_told_for_clients(said: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    body = json.dumps(before | {"error": before["error"] | {"message": said}}).encode()
    start, told = _passed(400, body[:20], body[20:])
    assert json.loads(told["body"]) == after | {"error": after["error"] | {"message": TOLD}}
    assert (b"content-length", str(len(told["body"])).encode()) in start["headers"]
    assert len(start["headers"]) == 2
    assert not told.get("more_body")


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (400, [b'{"error": {"message": "max_tokens must be at least 1"}}']),
        (400, [b'{"error": {"message": "--tool-call-parser to be set, said a client"}}']),
        (400, [b'{"error": ', b'"flat --tool-call-parser to be set"}']),
        (400, [b"no JSON: --tool-call-parser to be set"]),
        (400, [b'["--tool-call-parser to be set"]']),
        (400, [b""]),
        (200, [json.dumps({"error": {"message": AUTO}}).encode(), b"more"]),
        (500, [b"{}"]),
    ],
)
def test_any_other_answer_passes_part_by_part_as_it_is(status: int, parts: list[bytes]) -> None:
    start, *passed = _passed(status, *parts)
    assert start["status"] == status
    assert [message["body"] for message in passed] == parts
    assert (b"Content-Length", str(sum(map(len, parts))).encode()) in start["headers"]


def test_what_is_no_request_passes() -> None:
    assert len(_passed(400, json.dumps({"error": {"message": AUTO}}).encode(), scope="lifespan")) == 2


def test_without_a_reason_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REFUSAL_VARIABLE)
    body = json.dumps({"error": {"message": AUTO}}).encode()
    assert [message["body"] for message in _passed(400, body)[1:]] == [body]


def _asked(*parts: bytes, path: str = "/v1/responses", method: str = "POST") -> tuple[bytes, list[Message]]:
    """What an engine reads of a request in parts, and what its client gets."""
    coming = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)} for number, part in enumerate(parts, 1)
    ]
    coming.append({"type": "http.disconnect"})
    sent: list[Message] = []
    read: list[bytes] = []

    async def engine(_: Message, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            read.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(_call(WithoutTools(engine), {"type": "http", "method": method, "path": path}, receive, send))
    return b"".join(read), sent


def test_tools_of_a_response_are_refused_which_the_engine_would_leave_out_without_a_word() -> None:
    body = json.dumps({"input": "hi", "tools": [{"type": "function", "name": "toll"}]}).encode()
    read, (start, told) = _asked(body[:10], body[10:])
    assert (read, start["status"]) == (b"", 400)
    error = {"message": TOLD, "type": "BadRequestError", "param": "tools", "code": 400}
    assert json.loads(told["body"]) == {"error": error}


@pytest.mark.parametrize(
    "body",
    [
        b'{"input": "hi"}',
        b'{"input": "hi", "tools": []}',
        b'{"input": "hi", "tools": [{}], "tool_choice": "none"}',
        b"[1]",
        b"no JSON",
        b"",
    ],
)
def test_any_other_response_is_asked_for_as_it_is(body: bytes) -> None:
    read, (start, _) = _asked(body[:5], body[5:])
    assert (read, start["status"]) == (body, 200)


@pytest.mark.parametrize(("path", "method"), [("/v1/chat/completions", "POST"), ("/v1/responses", "GET")])
def test_no_other_request_is_read(path: str, method: str) -> None:
    body = b'{"tools": [{}]}'
    assert _asked(body, path=path, method=method)[0] == body
