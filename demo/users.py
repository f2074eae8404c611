"""A few hundred users of the spam filter: each asks about mails and rates the answers.

The mails are new ones from the example's own generator, so the right answer is known. The rating follows from whether
the answer is right and in the mail's language, never from which version gave it, and people being people, loosely.
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

__all__ = ["Answer", "Mail", "example_generator", "is_right", "new_mails", "play", "question", "rating"]

_EXAMPLE = Path(__file__).parents[1] / "examples/spam-filter"
_SEED = 7
_AT_ONCE = 12
_MAX_TOKENS = 80
_STARS_RIGHT, _STARS_WRONG, _STARS_CARELESS = (4, 5), (1, 2), (1, 2, 3, 4, 5)
_CARELESS = 0.2
_TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True)
class Mail:
    """A question, and the right answer."""

    question: str
    action: str
    language: str


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
        yield Mail(f"{row['instruction']}\n{json.dumps(row['input'], ensure_ascii=False)}", topic.action, language)


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


def question(mail: Mail, model: str) -> dict[str, Any]:
    """Return the request that asks a model about a mail."""
    message = {"role": "user", "content": mail.question}
    return {"model": model, "messages": [message], "max_tokens": _MAX_TOKENS, "temperature": 0}


def is_right(content: str, mail: Mail) -> bool:
    """Return whether the decision is the right one, with a reason that the mail's reader can read."""
    try:
        answer: Any = json.loads(content)
    except ValueError:
        return False
    if not isinstance(answer, dict) or answer.get("action") != mail.action:
        return False
    in_korean = any("가" <= letter <= "힣" for letter in str(answer.get("reason", "")))
    return in_korean == (mail.language == "ko")


def rating(rng: random.Random, *, right: bool) -> int:
    """Return one to five stars: four or five for a right answer, one or two for a wrong one, a careless fifth any."""
    if rng.random() < _CARELESS:
        return rng.choice(_STARS_CARELESS)
    return rng.choice(_STARS_RIGHT if right else _STARS_WRONG)


async def _ask_and_rate(session: aiohttp.ClientSession, user: str, mail: Mail, *, rate: bool) -> Answer:
    body = question(mail, "spam-filter")
    async with session.post("/v1/chat/completions", json=body, headers={"X-User-Id": user}) as response:
        response.raise_for_status()
        content = (await response.json())["choices"][0]["message"]["content"]
        headers = response.headers
    answer = Answer(
        user=user,
        version=headers["X-Anneal-Version"],
        variant=headers.get("X-Anneal-Variant"),
        exposure=headers.get("X-Exposure-Id"),
        right=is_right(content, mail),
    )
    if rate and answer.exposure:
        await _rate(session, answer, random.Random(f"{_SEED} {user} {mail.question}"))  # noqa: S311 - reproducible
    return answer


async def _rate(session: aiohttp.ClientSession, answer: Answer, rng: random.Random) -> None:
    stars = rating(rng, right=answer.right)
    said = {"exposureId": answer.exposure, "metric": "user_rating", "value": stars}
    async with session.post("/v1/feedback", json=said) as response:
        response.raise_for_status()
