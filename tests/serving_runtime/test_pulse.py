"""An engine is alive while it takes steps or answers; that vLLM's health says so is not enough."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from serving_runtime.keys import Message, Receive, Send
from serving_runtime.lifecycle import Lifecycle
from serving_runtime.plan import LONGEST_SILENCE_SECONDS
from serving_runtime.pulse import Pulse

PROBED: Message = {"type": "http", "method": "GET", "path": "/-/alive", "headers": [], "query_string": b"", "app": "a"}
IDLE = 'python_gc_total 7.0\nvllm:generation_tokens_total{model_name="m"} 5.0\nvllm:num_requests_running{} 0.0\n'


@dataclass
class Engine:
    """vLLM's server, played; `status` None is one that hangs."""

    metrics: str | None = IDLE
    status: int | None = 200
    queue: int = 256
    asked: list[Any] = field(default_factory=list)
    apps: list[Any] = field(default_factory=list)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.apps.append(scope["app"])
        status, said = 200, self.metrics or ""
        if scope["path"] == "/metrics":
            if self.metrics is None:
                raise RuntimeError("no metrics")
        else:
            message = await receive()
            self.asked.append((scope["method"], scope["path"], json.loads(message["body"])))
            if self.status is None:
                await receive()
            if self.status == 0:
                raise RuntimeError("the engine is dead")
            status, said = self.status or 0, "{}"
            if self.status == 200 and len(self.asked) % (self.queue + 1) == 0:
                status = 503
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": said.encode()})


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


async def _until_nothing_moves() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _probed(engine: Engine, seconds: float, between: Callable[[int], None] = lambda _: None) -> list[bool]:
    """What the kubelet hears, every ten seconds."""

    async def probe() -> list[bool]:
        clock, told = Clock(), []
        pulse = Pulse(engine, clock, LONGEST_SILENCE_SECONDS)
        for number in range(round(seconds / 10)):
            between(number)
            told.append(await pulse.beats(PROBED))
            await _until_nothing_moves()
            clock.now += 10
        return told

    return asyncio.run(probe())


def test_an_idle_engine_is_asked_for_a_token_now_and_then() -> None:
    engine = Engine()
    assert all(_probed(engine, 600))
    question = ("POST", "/v1/completions", {"prompt": "a", "temperature": 0, "ignore_eos": True, "max_tokens": 1})
    assert engine.asked == [question] * len(engine.asked)
    assert 15 <= len(engine.asked) <= 30
    assert set(engine.apps) == {"a"}


def test_one_whose_metrics_fail_lives_while_it_answers() -> None:
    assert all(_probed(Engine(metrics=None), 300))
    assert not all(_probed(Engine(metrics=None, status=None), 300))


def test_one_that_hangs_is_dead_after_two_minutes_and_is_asked_once() -> None:
    engine = Engine(status=None)
    told = _probed(engine, 200)
    assert told == [True] * round(LONGEST_SILENCE_SECONDS / 10) + [False] * 8
    assert len(engine.asked) == 1


def test_one_that_takes_steps_is_alive_however_long_its_queue_is() -> None:
    """A question waits behind the others; a long prompt fills the cache before its first token comes."""
    engine = Engine(status=None)

    def step(number: int) -> None:
        engine.metrics = IDLE + f"vllm:kv_cache_usage_perc{{}} 0.{number // 10}\n"

    assert all(_probed(engine, 1000, step))


def test_what_grows_without_a_step_is_no_life() -> None:
    engine = Engine(status=None)

    def be_refused(number: int) -> None:
        engine.metrics = IDLE + f"vllm:admission_rejections_total {number}\nhttp_requests_total {number}\n"

    assert not _probed(engine, 200, be_refused)[-1]


def test_errors_are_no_answer_and_what_it_cannot_answer_is_one() -> None:
    for status, lives in ((500, False), (503, False), (0, False), (404, True), (400, True)):
        assert _probed(Engine(status=status), 300)[-1] is lives


def test_it_recovers_when_the_answer_comes() -> None:
    engine = Engine(status=503)

    def mend(number: int) -> None:
        engine.status = 200 if number >= 15 else 503

    told = _probed(engine, 250, mend)
    assert (told[13], told[-1]) == (False, True)


def _started(engine: Engine, times: int, between: Callable[[int], None] = lambda _: None) -> list[int]:
    async def probe() -> list[int]:
        server, told = Lifecycle(engine), []

        async def take(message: Message) -> None:
            told.extend([message["status"]] if "status" in message else [])

        async def receive() -> Message:
            raise AssertionError

        for number in range(times):
            between(number)
            await server({**PROBED, "path": "/-/started"}, receive, take)
            await _until_nothing_moves()
        return told

    return asyncio.run(probe())


def test_it_has_started_once_it_has_answered_a_question() -> None:
    engine = Engine()
    assert _started(engine, 3) == [503, 200, 200]
    assert len(engine.asked) == 1
    assert set(_started(Engine(status=None), 9)) == {503}


def test_what_warms_it_up_is_asked_at_once_and_all_of_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNEAL_WARM_UP", '{"requests": 3, "max_tokens": 64}')
    engine = Engine()
    assert _started(engine, 4) == [503, 200, 200, 200]
    assert [asked["max_tokens"] for _, _, asked in engine.asked] == [64] * 3


def test_what_a_full_queue_refuses_is_asked_again_until_all_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANNEAL_WARM_UP", '{"requests": 6}')
    engine = Engine(queue=3)
    assert _started(engine, 4) == [503, 503, 200, 200]
    assert len(engine.asked) == 7


def test_one_may_be_silent_for_as_long_as_its_pod_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step with a long prompt takes minutes where the processor is all that it has."""
    monkeypatch.setenv("ANNEAL_LONGEST_SILENCE", "600")

    async def alive() -> list[bool]:
        clock, told = Clock(), []
        server = Lifecycle(Engine(status=None), clock)

        async def take(message: Message) -> None:
            told.extend([message["status"] == 200] if "status" in message else [])

        async def receive() -> Message:
            raise AssertionError

        for _ in range(62):
            await server({**PROBED, "path": "/-/alive"}, receive, take)
            clock.now += 10
        return told

    assert asyncio.run(alive()) == [True] * 60 + [False] * 2


def test_one_that_failed_to_answer_is_asked_again() -> None:
    engine = Engine(status=500)

    def mend(number: int) -> None:
        engine.status = 200 if number >= 3 else 500

    assert _started(engine, 6, mend) == [503, 503, 503, 503, 200, 200]
    assert len(engine.asked) == 4
