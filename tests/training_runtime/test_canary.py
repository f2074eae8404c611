"""What goes with the weights so that a server can be held to them: questions in tokens, answers, and how likely."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from prompts.canary import CANARY_FILE, Canary, first_difference
from training_runtime.committed import committing
from training_runtime.evaluate import canary as module
from training_runtime.evaluate.asked import Asked, Exchange
from training_runtime.evaluate.asking import Asking
from training_runtime.evaluate.canary import canary
from training_runtime.evaluate.stage import evaluate
from training_runtime.plan import Plan
from training_runtime.prepare import stage
from training_runtime.workspace import evaluation_folder, model_folder

from .conftest import MakePlan, rows

PHONE = "010-2345-6789"


def _evaluated(make_plan: MakePlan, base: Path, content: list[dict[str, Any]] | None = None, **changes: Any) -> Plan:
    """A plan that was evaluated, the base being the trained model, too."""
    given = {"base": {"initialize": "Pretrained", "uri": str(base)}, "evaluation__compare_base": False, **changes}
    plan = make_plan(content, **given)
    stage.prepare(plan)
    with committing(model_folder(plan)) as draft:
        shutil.copytree(base, draft, dirs_exist_ok=True)
    evaluate(plan)
    return plan


def _kept(plan: Plan) -> Canary | None:
    file = evaluation_folder(plan) / CANARY_FILE
    return Canary.model_validate_json(file.read_bytes()) if file.exists() else None


def test_three_questions_stay_with_what_the_trained_weights_make_of_their_answers(
    make_plan: MakePlan, base: Path
) -> None:
    from transformers import AutoModelForCausalLM

    plan = _evaluated(make_plan, base)
    found = _kept(plan)
    assert found
    assert len(found.questions) == 3
    model, asking = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval(), Asking(plan)
    answers = [json.loads(line) for line in (evaluation_folder(plan) / "answers.jsonl").read_text().splitlines()]
    for question, row in zip(found.questions, answers[:3], strict=True):
        assert question.messages == row["messages"][:-1]
        asked = asking.question(question.messages)
        assert first_difference(question.prompt_ids, asked.ids) is None
        assert asking.answer(asked, question.answer_ids) == row["tuned_answer"]
        assert not set(question.answer_ids[:-1]) & set(asking.ends)
        with torch.inference_mode():
            logits = model(torch.tensor([question.prompt_ids + question.answer_ids])).logits[0]
        each = torch.log_softmax(logits[len(question.prompt_ids) - 1 : -1], dim=-1)
        mean = each.gather(1, torch.tensor(question.answer_ids)[:, None]).mean()
        assert question.mean_log_probability == pytest.approx(float(mean), abs=1e-4)


def test_nothing_stays_that_preparation_masked(make_plan: MakePlan, base: Path) -> None:
    content = [{**row, "input": f"{row['input']} 전화번호 {PHONE}"} for row in rows(40)]
    found = _kept(_evaluated(make_plan, base, content))
    assert found
    text = found.model_dump_json()
    assert "[전화번호]" in text
    assert PHONE not in text


def test_a_row_s_context_stays_by_name(make_plan: MakePlan, base: Path) -> None:
    content = [{**row, "area": f"구간 {number}"} for number, row in enumerate(rows(40))]
    changes = {
        "dataset__columns": {"context": ["area"]},
        "dataset__prompt": {"text": "{instruction} {input} {area}"},
    }
    found = _kept(_evaluated(make_plan, base, content, **changes))
    assert found
    assert all(question.variables["area"].startswith("구간") for question in found.questions)
    assert all("variables" not in message for question in found.questions for message in question.messages)


def test_no_row_stays_where_none_may_leave(make_plan: MakePlan, base: Path) -> None:
    assert _kept(_evaluated(make_plan, base, output={"canary": False})) is None


def _conversation(question: str, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question, **more}, {"role": "assistant", "content": "네"}]


CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "", "tool_calls": []},
    {"role": "tool", "content": "b"},
    {"role": "assistant", "content": "네"},
]
THOUGHT: list[dict[str, Any]] = [
    *[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "c"}],
    *_conversation("d"),
]


@pytest.mark.parametrize(
    ("conversation", "question", "answer"),
    [
        (CALLED, [1], [2]),
        (THOUGHT, [1], [2]),
        (_conversation("a", variables={"tools": []}), [1], [2]),
        (_conversation("a"), [1] * 60, [2] * 4),
        (_conversation("a"), [1], []),
        (_conversation("same"), [1], [2]),
    ],
    ids=["calls", "thoughts", "tools", "too long", "no answer", "asked already"],
)
def test_what_no_server_can_be_asked_in_the_same_words_is_passed_over(
    make_plan: MakePlan, base: Path, conversation: Any, question: list[int], answer: list[int]
) -> None:
    plain, other = _conversation("same"), Exchange(question, answer)
    asked = Asked([plain, conversation], exchanges=[Exchange([5], [6]), other])
    found = canary(make_plan(output={"served_length": 64}), [asked], base)
    assert found
    assert [(one.prompt_ids, one.answer_ids) for one in found.questions] == [([5], [6])]


@pytest.mark.parametrize("failure", ["memory", "nan"])
def test_where_the_trained_weights_cannot_say_nobody_is_held_to_them(
    make_plan: MakePlan, base: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    def fail(*_: Any) -> list[tuple[float, int]]:
        if failure == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [(math.nan, 1)]

    monkeypatch.setattr(module, "losses", fail)
    asked = Asked([_conversation("a")], exchanges=[Exchange([5], [6])])
    assert canary(make_plan(), [asked], base) is None


def test_renderings_are_compared_token_by_token() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 4, 3]) == 1
    assert first_difference([1, 2], [1, 2, 3]) == 2
    assert first_difference([1, 2, 3], [1]) == 1
    assert first_difference([], [7]) == 0
