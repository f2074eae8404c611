"""Reports of experiments: who may read them, how they are asked for, and what is answered where there is none."""

import asyncio
import base64
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from anneal_operator.endpoints.experiments import AUDIENCE, Report, add_experiments
from anneal_operator.errors import ApiError

BEARER = {"Authorization": "Bearer good"}
PATH = "/experiments/team/base-or-tuned"


def _ask(
    path: str,
    headers: dict[str, str] = BEARER,
    *,
    fault: Exception | None = None,
    review_fault: Exception | None = None,
) -> tuple[web.Response | Any, str, list[tuple[str, ...]]]:
    """Return the answer, what it says, and what was asked of the API server."""
    asked: list[tuple[str, ...]] = []

    async def review(token: str, namespace: str, audience: str) -> bool:
        asked.append(("review", token, namespace))
        if review_fault:
            raise review_fault
        return (token, namespace, audience) == ("good", "team", AUDIENCE)

    async def find(namespace: str, name: str) -> Report | None:
        asked.append(("find", namespace, name))
        if fault:
            raise fault
        return Report("<p>page</p>", {"decided": True}) if name == "base-or-tuned" else None

    async def run() -> tuple[Any, str]:
        app = web.Application()
        add_experiments(app, review, find)
        async with TestClient(TestServer(app)) as client:
            answer = await client.get(path, headers=headers)
            return answer, await answer.text()

    answer, text = asyncio.run(run())
    return answer, text, asked


def test_the_page_and_the_verdict_are_told_to_who_may_read_them() -> None:
    page, text, _ = _ask(f"{PATH}/report.html")
    assert (page.status, page.content_type, text) == (200, "text/html", "<p>page</p>")
    told, text, _ = _ask(f"{PATH}/verdict.json")
    assert (told.status, told.content_type, text) == (200, "application/json", '{"decided": true}')
    for answer in (page, told):
        assert answer.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_a_browser_gives_the_token_as_a_password() -> None:
    password = base64.b64encode(b"anybody:good").decode()
    assert _ask(f"{PATH}/report.html", {"Authorization": f"Basic {password}"})[0].status == 200


@pytest.mark.parametrize(
    "authorization", [None, "Bearer bad", "Bearer", "good", "Digest good", "Basic good", "Basic !", "Basic //79"]
)
@pytest.mark.parametrize("path", [f"{PATH}/report.html", "/experiments/team/unknown/verdict.json"])
def test_nobody_else_is_told_anything_not_even_which_there_are(path: str, authorization: str | None) -> None:
    answer, text, asked = _ask(path, {"Authorization": authorization} if authorization else {})
    assert answer.status == 401
    assert f"kubectl create token ACCOUNT --audience {AUDIENCE}" in text
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "find" not in {call for call, *_ in asked}


def test_a_token_for_one_namespace_tells_nothing_of_another() -> None:
    assert _ask("/experiments/other/base-or-tuned/verdict.json")[0].status == 401


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (None, 404, "there is no ABExperiment other in namespace team"),
        (ApiError(500, "secret words"), 503, "try again"),
        (ValueError("secret words"), 409, "ABExperiment other cannot be read"),
    ],
)
def test_what_cannot_be_told_has_a_code_and_a_reason(fault: Exception | None, status: int, said: str) -> None:
    answer, text, _ = _ask("/experiments/team/other/verdict.json", fault=fault)
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert said in text
    assert "secret" not in text


def test_where_tokens_cannot_be_reviewed_it_is_to_be_tried_again() -> None:
    answer, _, asked = _ask(f"{PATH}/verdict.json", review_fault=ApiError(0, "no answer"))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert [call for call, *_ in asked] == ["review"]


@pytest.mark.parametrize(
    "path",
    ["/experiments/team/x/record.json", "/experiments/team/..%2Fx/verdict.json", "/experiments/team%2Fx/y/report.html"],
)
def test_no_other_path_is_answered_and_no_name_becomes_a_path(path: str) -> None:
    answer, _, asked = _ask(path)
    assert (answer.status, asked) == (404, [])
