"""A few hundred users of the spam filter: each asks about mails and rates the answers.

The mails are new ones from the example's own generator, so the right answer is known. The rating follows from whether
the answer is right, never from which version gave it.
"""

import asyncio
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp

__all__ = ["Answer", "Mail", "example_generator", "new_mails", "play"]

_EXAMPLE = Path(__file__).parents[1] / "examples/spam-filter"
_SEED = 7
_AT_ONCE = 12
_MAX_TOKENS = 60
_RATING_RIGHT, _RATING_WRONG = 5, 1
_TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True)
class Mail:
    """A question, and the right answer."""

    question: str
    action: str


@dataclass(frozen=True)
class Answer:
    """What a user got."""

    user: str
    version: str
    variant: str | None
    exposure: str | None
    right: bool


def new_mails(count: int) -> list[Mail]:
    """Return mails that no model was trained on, in both languages alike."""
    example = example_generator()
    rng = random.Random(_SEED)  # noqa: S311 - the same mails in every run
    return [next(_mails(example, rng)) for _ in range(count)]


def example_generator() -> ModuleType:
    """Return the example's generate.py; its folder is no package, as it is a user's."""
    loader = SourceFileLoader("spam_filter_example", str(_EXAMPLE / "generate.py"))
    module = ModuleType(loader.name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def _mails(example: ModuleType, rng: random.Random) -> Iterator[Mail]:
    while True:
        language, topics = rng.choice((("en", example.ENGLISH), ("ko", example.KOREAN)))
        topic = rng.choice(topics)
        row = example.mail(language, topic, rng)
        yield Mail(f"{row['instruction']}\n{json.dumps(row['input'], ensure_ascii=False)}", topic.action)


async def play(router: str, users: Sequence[str], questions: int, *, rate: bool) -> list[Answer]:
    """Have each user ask so many questions, a few users at once; rate the answers where asked to."""
    mails = new_mails(len(users) * questions)
    gate = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(base_url=router, timeout=_TIMEOUT) as session:

        async def one(position: int, user: str) -> list[Answer]:
            async with gate:
                own = mails[position * questions : (position + 1) * questions]
                return [await _ask_and_rate(session, user, mail, rate=rate) for mail in own]

        answers = await asyncio.gather(*(one(position, user) for position, user in enumerate(users)))
    return [answer for of_user in answers for answer in of_user]


async def _ask_and_rate(session: aiohttp.ClientSession, user: str, mail: Mail, *, rate: bool) -> Answer:
    body = {
        "model": "spam-filter",
        "messages": [{"role": "user", "content": mail.question}],
        "max_tokens": _MAX_TOKENS,
        "temperature": 0,
    }
    async with session.post("/v1/chat/completions", json=body, headers={"X-User-Id": user}) as response:
        response.raise_for_status()
        content = (await response.json())["choices"][0]["message"]["content"]
        headers = response.headers
    answer = Answer(
        user=user,
        version=headers["X-Anneal-Version"],
        variant=headers.get("X-Anneal-Variant"),
        exposure=headers.get("X-Exposure-Id"),
        right=_action(content) == mail.action,
    )
    if rate and answer.exposure:
        await _rate(session, answer)
    return answer


async def _rate(session: aiohttp.ClientSession, answer: Answer) -> None:
    rating = _RATING_RIGHT if answer.right else _RATING_WRONG
    said = {"exposureId": answer.exposure, "metric": "user_rating", "value": rating}
    async with session.post("/v1/feedback", json=said) as response:
        response.raise_for_status()


def _action(content: str) -> str | None:
    try:
        parsed: Any = json.loads(content)
    except ValueError:
        return None
    return parsed.get("action") if isinstance(parsed, dict) else None
