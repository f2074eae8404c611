"""Which tokens are reviewed at the API server, and how often: anybody can post to the progress endpoint."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import pytest

from anneal_operator.endpoints import reviews as module
from anneal_operator.endpoints.reviews import TokenReviews
from anneal_operator.errors import ApiError

AUDIENCE = "anneal-progress/team/job/uid-1"


def _token(claims: object, signature: str = "good") -> str:
    parts = (json.dumps({"alg": "RS256"}), json.dumps(claims))
    return ".".join([*(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts), signature])


GOOD = _token({"aud": [AUDIENCE]})


class _Server:
    """An API server to which signatures that say so are good, or which does not answer before it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails = False

    async def review(self, token: str, namespace: str, audience: str) -> bool:
        self.asked.append(f"{namespace} {audience}")
        await self.answers.wait()
        if self.fails:
            raise ApiError(0, "no answer")
        return token.endswith(".good")


@pytest.mark.parametrize("claims", [{"aud": AUDIENCE}, {"aud": ["other", AUDIENCE]}, {"aud": [AUDIENCE], "x": "ab"}])
def test_a_token_that_names_the_audience_is_reviewed(claims: object) -> None:
    server = _Server()
    assert asyncio.run(TokenReviews(server.review)(_token(claims), "team", AUDIENCE))
    assert server.asked == [f"team {AUDIENCE}"]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "good",
        "a.b",
        "a.%%%.good",
        "a.\udcff.good",
        f"{GOOD}\udcff",
        f"{GOOD}.more",
        _token({"aud": ["anneal-progress/team/job/uid-2"]}),
        _token({"aud": f"{AUDIENCE}0"}),
        _token({"sub": AUDIENCE}),
        _token([AUDIENCE]),
        "a." + base64.urlsafe_b64encode(b"[" * 5000).decode() + ".good",
    ],
)
def test_what_is_no_token_for_the_audience_costs_no_review(token: str) -> None:
    server = _Server()
    assert asyncio.run(TokenReviews(server.review)(token, "team", AUDIENCE)) is False
    assert server.asked == []


@pytest.mark.parametrize("signature", ["good", "bad"])
def test_what_the_review_said_counts_for_a_minute_for_this_audience_alone(signature: str) -> None:
    server, clock = _Server(), [0.0]
    other = f"{AUDIENCE}0"
    token = _token({"aud": [AUDIENCE, other]}, signature)

    async def run() -> list[bool]:
        ask = TokenReviews(server.review, lambda: clock[0])
        answers = [await ask(token, "team", AUDIENCE), await ask(token, "team", AUDIENCE)]
        answers += [await ask(token, "team", other), await ask(token, "rival", AUDIENCE)]
        clock[0] = 59.0
        answers.append(await ask(token, "team", AUDIENCE))
        clock[0] = 60.0
        return [*answers, await ask(token, "team", AUDIENCE)]

    assert asyncio.run(run()) == [signature == "good"] * 6
    assert server.asked == [f"team {AUDIENCE}", f"team {other}", f"rival {AUDIENCE}", f"team {AUDIENCE}"]


def test_no_answer_is_not_remembered() -> None:
    server = _Server()

    async def run() -> bool:
        ask = TokenReviews(server.review)
        server.fails = True
        with pytest.raises(ApiError):
            await ask(GOOD, "team", AUDIENCE)
        server.fails = False
        return await ask(GOOD, "team", AUDIENCE)

    assert asyncio.run(run())


def test_a_flood_of_refused_tokens_is_forgotten_before_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 3)
    server = _Server()

    async def run() -> None:
        ask = TokenReviews(server.review)
        await ask(GOOD, "team", AUDIENCE)
        for number in range(10):
            assert not await ask(_token({"aud": AUDIENCE}, f"bad-{number}"), "team", AUDIENCE)
        before = len(server.asked)
        await ask(GOOD, "team", AUDIENCE)
        await ask(_token({"aud": AUDIENCE}, "bad-9"), "team", AUDIENCE)
        assert len(server.asked) == before
        await ask(_token({"aud": AUDIENCE}, "bad-0"), "team", AUDIENCE)
        assert len(server.asked) == before + 1

    asyncio.run(run())


def test_of_too_many_tokens_those_reviewed_first_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 2)
    server, clock = _Server(), [0.0]
    one, two, three = (_token({"aud": AUDIENCE, "jti": number}) for number in range(3))

    async def run() -> None:
        ask = TokenReviews(server.review, lambda: clock[0])
        for token, second in ((one, 0.0), (two, 30.0), (one, 61.0), (three, 62.0), (one, 63.0), (three, 63.0)):
            clock[0] = second
            await ask(token, "team", AUDIENCE)
        assert len(server.asked) == 4
        await ask(two, "team", AUDIENCE)
        assert len(server.asked) == 5

    asyncio.run(run())


def _at_once(body: Callable[[_Server, TokenReviews], Awaitable[None]]) -> None:
    async def run() -> None:
        server = _Server()
        server.answers.clear()
        async with asyncio.timeout(20):
            await body(server, TokenReviews(server.review))

    asyncio.run(run())


def test_at_most_eight_reviews_are_under_way_at_once() -> None:
    async def body(server: _Server, ask: TokenReviews) -> None:
        tokens = [_token({"aud": AUDIENCE, "jti": number}) for number in range(20)]
        posts = [asyncio.create_task(ask(token, "team", AUDIENCE)) for token in tokens]
        while len(server.asked) < 8:  # noqa: ASYNC110 - the condition is the server's
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(server.asked) == 8
        server.answers.set()
        assert await asyncio.gather(*posts) == [True] * 20

    _at_once(body)


def test_a_report_that_waited_for_its_turn_needs_no_review_that_was_made_meanwhile() -> None:
    async def body(server: _Server, ask: TokenReviews) -> None:
        posts = [asyncio.create_task(ask(GOOD, "team", AUDIENCE)) for _ in range(20)]
        while len(server.asked) < 8:  # noqa: ASYNC110 - the condition is the server's
            await asyncio.sleep(0)
        server.answers.set()
        assert await asyncio.gather(*posts) == [True] * 20
        assert len(server.asked) == 8

    _at_once(body)


def test_a_report_that_gets_no_turn_is_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)

    async def body(server: _Server, ask: TokenReviews) -> None:
        tokens = [_token({"aud": AUDIENCE, "jti": number}) for number in range(9)]
        answers = await asyncio.gather(*(_until_told(ask(token, "team", AUDIENCE), server) for token in tokens))
        assert answers.count(None) == 1

    _at_once(body)


async def _until_told(asking: Awaitable[bool], server: _Server) -> bool | None:
    """None where there was no turn; that one has the others answered."""
    try:
        return await asking
    except ApiError:
        server.answers.set()
        return None
