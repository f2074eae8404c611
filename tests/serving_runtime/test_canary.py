"""An engine is ready only once it answers its version's own evaluation as training did. vLLM's server is played here;
tests/e2e/test_canary.py has the real one.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prompts.canary import Canary, CanaryQuestion
from serving_runtime.canary import CANARY_VARIABLE, CanaryCheck, HeldTo
from serving_runtime.keys import Message, Receive, Send
from serving_runtime.lifecycle import Lifecycle
from serving_runtime.plan import ANSWERS_DIFFER
from toolbox.polling import poll

from .played_engine import TOKENS, Played, begun

PROBED: Message = {
    "type": "http",
    "method": "GET",
    "path": "/-/started",
    "headers": [],
    "query_string": b"",
    "app": "a",
}
PROMPT, ANSWER = [11, 12, 13], [21, 22]
QUESTION = CanaryQuestion(
    messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "안녕"}],
    variables={"area": "x"},
    prompt_ids=PROMPT,
    answer_ids=ANSWER,
    mean_log_probability=-0.5,
)
SECOND = QUESTION.model_copy(update={"messages": [{"role": "user", "content": "2"}]})


@dataclass
class Engine:
    """What vLLM says of a prompt, and of how likely tokens are."""

    tokens: list[int] = field(default_factory=lambda: list(PROMPT))
    room: int = 64
    likely: tuple[float, ...] = (-0.25, -0.75)
    status: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        body = json.loads((await receive())["body"])
        self.asked.append((scope["path"], body))
        said = {"/tokenize": self.tokenized, "/detokenize": self.text, "/v1/completions": self.scored}[scope["path"]]
        await send({"type": "http.response.start", "status": self.status.get(scope["path"], 200), "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(said(body)).encode()})

    def tokenized(self, _: Any) -> dict[str, Any]:
        return {"tokens": self.tokens, "count": len(self.tokens), "max_model_len": self.room}

    def text(self, body: Any) -> dict[str, Any]:
        return {"prompt": "".join(f"<{token}>" for token in body["tokens"])}

    def scored(self, body: Any) -> dict[str, Any]:
        if isinstance(body["prompt"], str):
            return {"choices": [{"text": "a"}]}
        each = [None, *([{"0": {"logprob": -9.0}}] * (len(PROMPT) - 1))]
        each += [{str(token): {"logprob": value}} for token, value in zip(ANSWER, self.likely, strict=True)]
        return {"choices": [{"prompt_logprobs": each}]}


@pytest.fixture
def held(tmp_path: Path) -> HeldTo:
    file = tmp_path / "canary.json"
    file.write_text(Canary(questions=[QUESTION, SECOND]).model_dump_json())
    return HeldTo(file=file, tolerance=0.05)


def _checked(engine: Engine, held: HeldTo, times: int = 1) -> tuple[list[bool], list[str]]:
    """Whether it passed each time, and the reasons for which it was to end."""

    async def check() -> tuple[list[bool], list[str]]:
        reasons = list[str]()
        canary = CanaryCheck(engine, held, reasons.append)
        return [await canary.passes(PROBED) for _ in range(times)], reasons

    return asyncio.run(check())


def test_it_is_asked_as_a_client_asks_and_for_the_stored_answers_as_tokens(
    held: HeldTo, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine()
    assert _checked(engine, held, 3) == ([True] * 3, [])
    scored = ("/v1/completions", {"prompt": PROMPT + ANSWER, "max_tokens": 1, "prompt_logprobs": 0})
    assert engine.asked == [
        ("/tokenize", {"messages": QUESTION.messages, "chat_template_kwargs": {"area": "x"}}),
        scored,
        ("/tokenize", {"messages": SECOND.messages, "chat_template_kwargs": {"area": "x"}}),
        scored,
    ], "once: one that has passed is not asked again"
    assert "2 of 2 questions of its evaluation were answered as in training" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"tokens": [11, 19, 13]},
            "question 1 of 2 of its evaluation: token 2 of the prompt is '<19>' (19) here and was '<12>' (12) in train",
        ),
        ({"tokens": [11, 12]}, "token 3 of the prompt is the end here and was '<13>' (13) in training"),
        ({"tokens": [*PROMPT, 14]}, "token 4 of the prompt is '<14>' (14) here and was the end in training"),
        (
            {"likely": (-0.25, -1.21)},
            "is -0.7300 here and was -0.5000 in training, more than serving.canaryTolerance (0.05, 0.224 for 2 tokens)",
        ),
        ({"likely": (-0.0, -0.54)}, "is -0.2700 here and was -0.5000 in training"),
        ({"likely": (float("nan"), -0.75)}, "is nan here and was -0.5000 in training"),
        (
            {"status": {"/tokenize": 400}},
            "question 1 of 2 of its evaluation is answered with 400: {",
        ),
    ],
)
def test_one_that_differs_ends_with_what_differs_and_the_remedy(
    held: HeldTo, changes: dict[str, Any], told: str
) -> None:
    passed, [reason] = _checked(Engine(**changes), held)
    assert passed == [False]
    assert told in reason
    assert "publish" in reason


def test_weights_in_fewer_bits_may_be_further_off(held: HeldTo) -> None:
    engine = Engine(likely=(-0.25, -1.25))
    assert _checked(engine, held)[0] == [False]
    assert _checked(engine, held.model_copy(update={"tolerance": 0.1})) == ([True], [])


def test_what_it_has_no_room_for_is_not_asked(held: HeldTo, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(room=len(PROMPT + ANSWER), tokens=[1])
    assert _checked(engine, held) == ([True], [])
    assert [path for path, _ in engine.asked] == ["/tokenize"] * 2
    assert "no question of its evaluation fits into serving.maxModelLength" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["/tokenize", "/v1/completions"])
def test_one_that_cannot_answer_yet_is_asked_again(held: HeldTo, path: str) -> None:
    engine = Engine(status={path: 503})

    async def check() -> list[bool]:
        canary = CanaryCheck(engine, held, pytest.fail)
        told = [await canary.passes(PROBED)]
        engine.status = {}
        return [*told, await canary.passes(PROBED)]

    assert asyncio.run(check()) == [False, True]


def _started(engine: Engine, times: int, between: Callable[[int], None]) -> list[int]:
    async def probe() -> list[int]:
        server, told = Lifecycle(engine), list[int]()

        async def take(message: Message) -> None:
            told.extend([message["status"]] if "status" in message else [])

        async def receive() -> Message:
            raise AssertionError

        for number in range(times):
            between(number)
            await server(dict(PROBED), receive, take)
            for _ in range(20):
                await asyncio.sleep(0)
        return told

    return asyncio.run(probe())


def test_it_is_warmed_up_and_ready_only_once_it_has_passed(held: HeldTo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CANARY_VARIABLE, held.model_dump_json())
    engine = Engine(status={"/tokenize": 503})

    def mend(number: int) -> None:
        engine.status = {} if number >= 2 else engine.status

    assert _started(engine, 5, mend) == [503, 503, 503, 200, 200]
    assert [path for path, _ in engine.asked][2:] == [*["/tokenize", "/v1/completions"] * 2, "/v1/completions"]
    assert engine.asked[-1][1]["prompt"] == "a"


def test_a_container_whose_engine_differs_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its first process, as its kubelet has it."""
    file = tmp_path / "canary.json"
    question = QUESTION.model_copy(update={"prompt_ids": [*TOKENS, 7]})
    file.write_text(Canary(questions=[question]).model_dump_json())
    monkeypatch.setenv(CANARY_VARIABLE, HeldTo(file=file, tolerance=0.05).model_dump_json())
    process, port = begun()
    try:
        engine = Played(process, port)
        assert poll(lambda: not engine.has_started() and process.poll() is not None, 30, every=0.05)
    finally:
        process.kill()
        _, said = process.communicate(timeout=30)
    assert process.returncode == ANSWERS_DIFFER
    assert "error: question 1 of 1 of its evaluation: token 4 of the prompt is the end here" in said
