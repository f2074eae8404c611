"""Reviews of tokens, asked for sparingly: each is a request to the API server, and anybody can post to an endpoint.

A token whose own claims do not name the audience is rejected without a review; only the API server says whether those
claims are true. What it said counts for a minute. A stranger can still make up tokens that claim an audience they know;
they can then hold up others' reports, which wait for their turn, but no more requests are under way for it.
"""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Awaitable, Callable

from anneal_operator.errors import ApiError

__all__ = ["Review", "TokenReviews"]

Review = Callable[[str, str, str], Awaitable[bool]]
"""Whether a token of a namespace's service account is valid for an audience: `(token, namespace, audience)`."""
_REMEMBERED_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
_MOST_AT_ONCE = 8
_PATIENCE_SECONDS = 10.0


class TokenReviews:
    """A Review by another, asked at most once a minute for each token and audience."""

    def __init__(self, review: Review, clock: Callable[[], float] = time.monotonic) -> None:
        self._review = review
        self._valid, self._refused = _Remembered(clock), _Remembered(clock)  # apart: strangers must not push out others
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)

    async def __call__(self, token: str, namespace: str, audience: str) -> bool:
        """Whether the token is valid; raises ApiError where that cannot be known now."""
        if not _claims(token, audience):
            return False
        key = hashlib.sha256(f"{namespace} {audience} {token}".encode()).digest()
        known = self._known(key)
        return await self._ask(key, token, namespace, audience) if known is None else known

    def _known(self, key: bytes) -> bool | None:
        if key in self._valid:
            return True
        return False if key in self._refused else None

    async def _ask(self, key: bytes, token: str, namespace: str, audience: str) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise ApiError(0, "too many tokens are being reviewed") from None
        try:
            known = self._known(key)  # another report with this token may have been first
            if known is None:
                known = await self._review(token, namespace, audience)
                (self._valid if known else self._refused).add(key)
            return known
        finally:
            self._turns.release()


class _Remembered:
    """Keys of the last minute; the oldest go first where there are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[bytes, float] = {}

    def __contains__(self, key: bytes) -> bool:
        since = self._since.get(key)
        return since is not None and self._clock() < since + _REMEMBERED_SECONDS

    def add(self, key: bytes) -> None:
        self._since.pop(key, None)
        self._since[key] = self._clock()
        while len(self._since) > _MOST_REMEMBERED or next(iter(self._since)) not in self:
            del self._since[next(iter(self._since))]


def _claims(token: str, audience: str) -> bool:
    """Whether these are the words of a JSON Web Token for this audience; nothing is verified."""
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (ValueError, RecursionError):
        return False
    named = claims.get("aud") if isinstance(claims, dict) else None
    return audience in (named if isinstance(named, list) else [named])
