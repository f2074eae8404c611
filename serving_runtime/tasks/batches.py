"""Many questions at once: each answered for itself, in their order, and once where the client names the batch."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from .answering import answer_to
from .asked import Batch, BatchAnswered, BatchItem, ItemAnswered
from .fitting import Preparation
from .question import asked_by
from .refused import RefusedError
from .router_client import UnansweredError

__all__ = ["Batches"]

_AT_ONCE = 16
"""So many questions of batches are asked at a time, of all clients: the engines are for others, too."""
_MOST_KEPT, _KEPT_SECONDS = 512, 3600.0
_UNAVAILABLE, _SERVER_ERROR = 503, 500


class Batches:
    """Those under way, and those that a client may ask for once more."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._named: OrderedDict[str, tuple[str, asyncio.Task[BatchAnswered]]] = OrderedDict()

    async def answer(self, batch: Batch, preparation: Preparation) -> BatchAnswered:
        """Answer all of it."""
        results = await asyncio.gather(*(self._item(item, batch, preparation) for item in batch.inputs))
        return _summed(results)

    async def once(self, key: str, content: str, work: Callable[[], Awaitable[BatchAnswered]]) -> BatchAnswered:
        """Answer what bears this key once, for an hour, however often it is sent; also where its client has left.

        Raises RefusedError where the key was another batch's.
        """
        digest, found = hashlib.sha256(content.encode()).hexdigest(), self._named.get(key)
        if found and found[0] != digest:
            told = "`Idempotency-Key`: another batch was sent with it within the last hour: choose a new one"
            raise RefusedError(422, told, "Idempotency-Key")
        if not found:
            self._named[key] = digest, asyncio.ensure_future(work())
            self._forget_oldest()
        task = self._named[key][1]
        try:
            answered = await asyncio.shield(task)
        except Exception:
            self._named.pop(key, None)
            raise
        if not found:
            self._keep(key, answered)
        return answered

    def _keep(self, key: str, answered: BatchAnswered) -> None:
        """One of which nothing was answered is asked anew."""
        if all(result.status >= _SERVER_ERROR for result in answered.results):
            self._named.pop(key, None)
        else:
            asyncio.get_running_loop().call_later(_KEPT_SECONDS, self._named.pop, key, None)

    def _forget_oldest(self) -> None:
        """Of those that are done."""
        done = [key for key, (_, task) in self._named.items() if task.done()]
        for key in done[: max(0, len(self._named) - _MOST_KEPT)]:
            del self._named[key]

    async def _item(self, item: BatchItem, batch: Batch, preparation: Preparation) -> ItemAnswered:
        try:
            async with self._places:
                outcome = await answer_to(asked_by(item, batch), preparation)
        except RefusedError as error:
            return ItemAnswered(success=False, error=error.message, status=error.status)
        except UnansweredError as error:
            return ItemAnswered(success=False, error=str(error), status=_UNAVAILABLE)
        return ItemAnswered(**dict(outcome.answered), exposure_id=outcome.headers.get("x-exposure-id"))


def _summed(results: Sequence[ItemAnswered]) -> BatchAnswered:
    succeeded = sum(result.success for result in results)
    failed = len(results) - succeeded
    return BatchAnswered(success=not failed, succeeded=succeeded, failed=failed, results=list(results))
