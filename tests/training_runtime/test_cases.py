"""Evaluation's own cases are treated as rows are, and none may ask what training learns."""

import json
from pathlib import Path
from typing import Any

import pytest

from training_runtime.errors import DataError
from training_runtime.evaluate.asked import rows_to_ask
from training_runtime.plan import Plan
from training_runtime.prepare.stage import prepare
from training_runtime.prepared import part_files
from training_runtime.workspace import cases_folder

from .conftest import MakePlan, rows, write_rows

NEW = {"instruction": "판단하라.", "input": "처음 보는 질문", "output": {"action": "BLOCK"}}


def _plan(make_plan: MakePlan, own: Path, **changes: Any) -> Plan:
    suite = {"name": "own", "type": "Classification", "label_field": "action", "path": str(own)}
    return make_plan(evaluation__suites=[suite], **changes)


def _learnt(plan: Plan) -> list[str]:
    from pyarrow.parquet import read_table

    texts = read_table(part_files(plan, "train"), columns=["messages"])["messages"].to_pylist()
    return [json.loads(text)[0]["content"] for text in texts]


def test_cases_that_ask_what_a_training_row_asks_are_named_by_their_lines(make_plan: MakePlan, tmp_path: Path) -> None:
    prepare(make_plan())
    learnt = _learnt(make_plan())
    copied = [row for row in rows(80) if f"{row['instruction']}\n{row['input']}" in learnt][:2]
    spaced = {**copied[1], "input": copied[1]["input"].replace(" ", "   ").upper(), "output": {"action": "OTHER"}}
    own = write_rows(tmp_path / "own.jsonl", [NEW, copied[0], NEW, spaced])
    with pytest.raises(
        DataError,
        match=r"^2 evaluation cases ask what a training row asks: own\.jsonl line \d; own\.jsonl line \d: take",
    ) as caught:
        prepare(_plan(make_plan, own))
    assert {"own.jsonl line 2", "own.jsonl line 4"} <= set(str(caught.value).replace(": ", "; ").split("; "))


def test_cases_may_be_the_test_rows_own(make_plan: MakePlan, tmp_path: Path) -> None:
    prepare(make_plan())
    learnt = _learnt(make_plan())
    held_out = [row for row in rows(80) if f"{row['instruction']}\n{row['input']}" not in learnt]
    own = write_rows(tmp_path / "own.jsonl", held_out)
    plan = _plan(make_plan, own, evaluation__max_rows=100)
    prepare(plan)
    assert len(rows_to_ask(plan, str(own)).conversations) == len(held_out) > 10


def test_a_case_is_cleaned_and_masked_as_rows_are_and_known_by_what_is_left(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    def with_phone(text: str, number: str) -> dict[str, Any]:
        return {**NEW, "input": f"{text} 연락처 010-1234-{number}"}

    plan = _plan(make_plan, write_rows(tmp_path / "own.jsonl", [with_phone("<b>새</b> 질문", "0001")]))
    plan = plan.model_copy(
        update={
            "dataset": plan.dataset.model_copy(
                update={"clean": plan.dataset.clean.model_copy(update={"remove_pattern": "<[^>]*>"})}
            )
        }
    )
    prepare(plan)
    [messages] = rows_to_ask(plan, str(tmp_path / "own.jsonl")).conversations
    assert messages[0]["content"] == "판단하라.\n새 질문 연락처 [전화번호]"
    learnt = [with_phone(f"질문 {number}", f"{number:04}") for number in range(80)]
    own = write_rows(tmp_path / "own.jsonl", [with_phone(f"질문 {number}", "9999") for number in range(80)])
    with pytest.raises(DataError, match=r"^64 evaluation cases ask what a training row asks: own\.jsonl line"):
        prepare(_plan(make_plan, own, content=learnt))


def _chats(*turns: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": content} for n, content in enumerate(turns)]}


def test_a_case_may_not_ask_what_an_earlier_turn_of_a_training_row_asks(make_plan: MakePlan, tmp_path: Path) -> None:
    done, other = '{"action": "끝"}', '{"action": "다른 답"}'
    learnt = [_chats(f"첫 질문 {n}", "답", f"다음 질문 {n}", done) for n in range(80)]
    own = write_rows(tmp_path / "own.jsonl", [_chats(f"첫 질문 {n}", other) for n in range(80)])
    with pytest.raises(DataError, match=r"^64 evaluation cases ask what a training row asks: own\.jsonl line"):
        prepare(_plan(make_plan, own, content=learnt))
    own = write_rows(own, [_chats(f"다음 질문 {n}", done) for n in range(80)])
    prepare(_plan(make_plan, own, content=learnt))


def test_a_case_with_another_context_asks_something_else(make_plan: MakePlan, tmp_path: Path) -> None:
    def claim(number: int, kinds: str) -> dict[str, Any]:
        return {"instruction": "분류하라.", "input": f"접수 {number}", "output": '{"action": "환불"}', "kinds": kinds}

    text = "{instruction}\n{kinds}\n{input}\n{output}"
    changes: dict[str, Any] = {
        "content": [claim(number, "쥐, 벌레") for number in range(80)],
        "dataset__prompt": {"format": "Text", "text": text},
        "dataset__columns": {"context": ["kinds"]},
    }
    own = write_rows(tmp_path / "own.jsonl", [claim(number, "환불, 교환") for number in range(80)])
    prepare(_plan(make_plan, own, **changes))
    asked = rows_to_ask(_plan(make_plan, own, evaluation__max_rows=1, **changes), str(own))
    assert asked.questions[0].startswith("instruction: 분류하라.\nkinds: 환불, 교환\n접수 ")
    write_rows(own, [claim(number, "쥐,  벌레") for number in range(80)])
    with pytest.raises(DataError, match=r"^64 evaluation cases ask what a training row asks"):
        prepare(_plan(make_plan, own, **changes))


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (None, r"the evaluation file .*/own\.jsonl is not there: check the suite's cases"),
        ([{**NEW, "output": ""}], r"1 evaluation cases cannot be asked, .*: own\.jsonl line 1: the answer is empty"),
        ([{"text": "nothing to ask"}], r"own\.jsonl holds plain text: a case needs a question and an answer"),
        ([], r"own\.jsonl is empty"),
    ],
)
def test_cases_that_cannot_be_asked_fail_preparation(
    make_plan: MakePlan, tmp_path: Path, own: list[dict[str, Any]] | None, message: str
) -> None:
    path = tmp_path / "own.jsonl"
    if own is not None:
        write_rows(path, own)
    with pytest.raises(DataError, match=message):
        prepare(_plan(make_plan, path))


def test_rules_that_choose_rows_leave_the_users_own_cases(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = _plan(
        make_plan,
        write_rows(tmp_path / "own.jsonl", [{**NEW, "input": "짧음"}]),
        dataset__clean={"min_characters": 10},
        dataset__response_schema={"type": "object", "required": ["action", "n"]},
    )
    prepare(plan)
    assert len(rows_to_ask(plan, str(tmp_path / "own.jsonl")).conversations) == 1


def test_cases_that_were_not_prepared_are_told(make_plan: MakePlan, tmp_path: Path) -> None:
    own = write_rows(tmp_path / "own.jsonl", [NEW])
    prepare(make_plan())
    plan = _plan(make_plan, own)
    assert not cases_folder(plan).exists()
    with pytest.raises(DataError, match="are not prepared: run the prepare stage first"):
        rows_to_ask(plan, str(own))


def test_more_cases_than_may_be_asked_are_sampled_by_label(make_plan: MakePlan, tmp_path: Path) -> None:
    own = [{**NEW, "input": f"새 질문 {n}", "output": {"action": "BLOCK" if n < 60 else "ALLOW"}} for n in range(100)]
    path = write_rows(tmp_path / "own.jsonl", own)
    plan = _plan(make_plan, path, dataset__columns={"label": "output.action"}, evaluation__max_rows=10)
    prepare(plan)
    answers = [json.loads(text)["action"] for text in rows_to_ask(plan, str(path)).expected]
    assert (answers.count("BLOCK"), answers.count("ALLOW")) == (6, 4)
