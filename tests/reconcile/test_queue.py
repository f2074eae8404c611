"""The work queue: one worker per key, no edge lost, failures tried again ever more slowly."""

import asyncio
from collections.abc import Awaitable, Callable

from anneal_operator.errors import ApiError
from anneal_operator.reconcile import queue as module
from anneal_operator.reconcile.queue import Key, WorkQueue

A, B = Key("K", "n", "a"), Key("K", "n", "b")


def _run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(body(), 10)

    asyncio.run(bounded())


def test_a_key_that_waits_is_worked_on_once() -> None:
    async def body() -> None:
        seen: list[Key] = []

        async def reconcile(key: Key) -> None:
            seen.append(key)

        queue = WorkQueue(reconcile)
        for key in (A, B, A, A):
            queue.wake(key)
        await asyncio.sleep(0.01)
        assert sorted(key.name for key in seen) == ["a", "b"]
        await queue.stop()

    _run(body)


def test_a_key_woken_while_it_is_worked_on_is_looked_at_again_by_the_same_worker() -> None:
    async def body() -> None:
        running = most = looks = 0
        gate = asyncio.Event()

        async def reconcile(_: Key) -> None:
            nonlocal running, most, looks
            running, looks = running + 1, looks + 1
            most = max(most, running)
            await gate.wait()
            running -= 1

        queue = WorkQueue(reconcile)
        queue.wake(A)
        await asyncio.sleep(0.01)
        for _ in range(5):
            queue.wake(A)
        gate.set()
        await asyncio.sleep(0.01)
        assert (looks, most) == (2, 1)
        await queue.stop()

    _run(body)


def test_a_later_wake_does_not_delay_an_earlier_one() -> None:
    async def body() -> None:
        seen = asyncio.Event()

        async def reconcile(_: Key) -> None:
            seen.set()

        queue = WorkQueue(reconcile)
        queue.wake(A, after=0.02)
        queue.wake(A, after=60)
        await asyncio.wait_for(seen.wait(), 2)
        await queue.stop()

    _run(body)


def test_a_result_has_the_key_looked_at_again() -> None:
    async def body() -> None:
        looks = 0
        thrice = asyncio.Event()

        async def reconcile(_: Key) -> float | None:
            nonlocal looks
            looks += 1
            if looks == 3:
                thrice.set()
                return None
            return 0.01

        queue = WorkQueue(reconcile)
        queue.wake(A)
        await asyncio.wait_for(thrice.wait(), 2)
        await queue.stop()

    _run(body)


async def _fail(_: Key) -> None:
    raise ApiError(0, "down")


def test_failures_are_tried_again_ever_more_slowly() -> None:
    queue = WorkQueue(_fail)
    delays = [queue._backoff(A) for _ in range(30)]  # noqa: SLF001 - the seam that needs no waiting
    assert all(module._FIRST_DELAY_SECONDS / 2 <= delay <= module._LONGEST_DELAY_SECONDS for delay in delays)  # noqa: SLF001
    assert delays[5] > 4 * delays[0]
    assert min(delays[10:]) >= module._LONGEST_DELAY_SECONDS / 2  # noqa: SLF001


def test_a_key_that_is_woken_while_it_fails_waits_all_the_same() -> None:
    async def body() -> None:
        looks = 0

        async def reconcile(key: Key) -> None:
            nonlocal looks
            looks += 1
            queue.wake(key)
            raise ApiError(500, "down")

        queue = WorkQueue(reconcile)
        queue.wake(A)
        for _ in range(20):  # turns of the loop: enough for one that does not wait
            await asyncio.sleep(0)
        assert looks == 1
        await queue.stop()

    _run(body)


def test_what_failed_before_a_stop_is_tried_soon_after_it() -> None:
    queue = WorkQueue(_fail)
    for _ in range(30):
        queue._backoff(A)  # noqa: SLF001 - the seam that needs no waiting
    asyncio.run(queue.stop())
    assert queue._backoff(A) <= module._FIRST_DELAY_SECONDS  # noqa: SLF001


def test_a_failing_key_does_not_hold_up_another_and_recovers() -> None:
    async def body() -> None:
        done = {A: asyncio.Event(), B: asyncio.Event()}
        failed = False

        async def reconcile(key: Key) -> None:
            nonlocal failed
            if key == A and not failed:
                failed = True
                raise ApiError(500, "once")
            done[key].set()

        queue = WorkQueue(reconcile)
        queue.wake(A)
        queue.wake(B)
        await asyncio.wait_for(done[B].wait(), 1)
        await asyncio.wait_for(done[A].wait(), 5)
        await queue.stop()

    _run(body)
