"""The prepare stage: the same input and rules give the same bytes, and every row is accounted for."""

import gzip
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

from training_runtime.committed import committing, facts_of
from training_runtime.errors import DataError, PlanError
from training_runtime.plan import ExitCode, Plan, SourcePlan
from training_runtime.prepare import stage
from training_runtime.prepare.stage import prepare
from training_runtime.prepared import part_files, prepared_prompt, verified_dataset
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.workspace import base_folder

from .conftest import ROOT, MakePlan, rows


def _rejects(plan: Plan) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (verified_dataset(plan) / "rejects.jsonl").read_text().splitlines()]


def _tables(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    return {
        part: [row for path in part_files(plan, part) for row in read_table(path).to_pylist()]
        for part in ("train", "validation", "test")
    }


def test_every_row_is_in_a_part_or_among_the_rejects(make_plan: MakePlan) -> None:
    content: list[Any] = [
        *rows(100),
        *rows(100)[:5],
        {"instruction": "x"},
        {"instruction": "판단하라.", "input": "y" * 9, "output": {"action": "?"}},
    ]
    plan = make_plan(
        content,
        dataset__duplicate_threshold=0.85,
        dataset__response_schema={"properties": {"action": {"enum": ["BLOCK", "ALLOW"]}}},
        dataset__split__stratify_by="output.action",
    )
    found = prepare(plan)
    tables = _tables(plan)
    assert (found.rows, found.duplicates_removed, found.rejected) == (100, 5, 2)
    assert {part: len(table) for part, table in tables.items()} == {"train": 80, "validation": 10, "test": 10}
    assert {(row["line"], row["kind"], row["reason"][:20]) for row in _rejects(plan)} == {
        *((line, "repetition", "repeats rows.jsonl l") for line in range(101, 106)),
        (106, "incomplete", "has no output"),
        (107, "schema", "breaks responseSchem"),
    }
    assert sum(row["label"] == "BLOCK" for row in tables["test"]) in (3, 4)
    facts = facts_of(verified_dataset(plan))
    assert facts["numbers"]["digest"] == found.digest
    assert facts["answers"] == {"action": {"str": 107 - 1}, "n": {"int": 105}}
    assert facts["labels"] == {"ALLOW": 69, "BLOCK": 36}


def test_no_test_row_is_repeated_in_training(make_plan: MakePlan) -> None:
    content = rows(120)
    near = [{**row, "input": row["input"][:-1] + "9"} for row in content]
    plan = make_plan([*content, *near], dataset__duplicate_threshold=0.7)
    prepare(plan)
    tables = _tables(plan)
    questions = {
        part: {json.loads(row["messages"])[0]["content"][:-1] for row in table} for part, table in tables.items()
    }
    assert not questions["test"] & questions["train"]
    assert not questions["validation"] & questions["train"]


def _base_model(base: Path, folder: Path, template: str | None) -> Path:
    """The base with another chat template, or with none as a model that was not instructed."""
    shutil.copytree(base, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = folder / "tokenizer_config.json"
    told = {name: value for name, value in json.loads(settings.read_text()).items() if name != "chat_template"}
    settings.write_text(json.dumps(told))
    if template:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def test_a_base_without_a_template_takes_plain_text_in_pieces_and_none_is_cut(
    make_plan: MakePlan, base: Path, tmp_path: Path
) -> None:
    bare = _base_model(base, tmp_path / "bare", None)
    content = [{"text": f"{number} " + row["input"] * 10} for number, row in enumerate(rows(40))]
    plan = make_plan(
        content,
        base={"initialize": "Pretrained", "uri": str(bare)},
        training__max_sequence_length=64,
        dataset__max_truncated_percent=0,
    )
    found = prepare(plan)
    assert found.rows > 40
    assert (found.truncated_percent, found.p99_tokens) == (0, 64)
    assert prepared_prompt(plan).template is None
    lengths = [len(row["input_ids"]) for table in _tables(plan).values() for row in table]
    assert sum(lengths) == found.tokens


@pytest.mark.parametrize("template", ["QuestionAnswer", "Messages"])
def test_a_base_without_a_template_says_what_to_do_with_chats(
    make_plan: MakePlan, base: Path, tmp_path: Path, template: str
) -> None:
    bare = _base_model(base, tmp_path / "bare", None)
    content = [
        {"question": row["input"], "answer": "a", "messages": [{"role": "user", "content": row["input"]}, _ANSWER]}
        for row in rows(20)
    ]
    plan = make_plan(content, base={"initialize": "Pretrained", "uri": str(bare)}, dataset__template=template)
    with pytest.raises(PlanError, match=r"^rows.jsonl line \d+: .* has no chat template: set prompt\.format: Text"):
        prepare(plan)
    text = make_plan(
        content,
        base={"initialize": "Pretrained", "uri": str(bare)},
        dataset__template=template,
        dataset__prompt={"format": "Text", "text": "Q: {input}\nA: {output}"},
    )
    assert prepare(text).rows == 20


_ANSWER = {"role": "assistant", "content": "a"}


def test_a_template_that_changed_since_the_data_was_prepared_is_told_and_not_followed(
    make_plan: MakePlan, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(rows(20), base={"initialize": "Pretrained", "uri": str(base)})
    prepare(plan)
    written = prepared_prompt(plan).template
    assert prompted_tokenizer(plan).chat_template == written
    assert "has changed since" not in capsys.readouterr().out
    other = _base_model(base, tmp_path / "other", "{% for m in messages %}{{ m.content }}{% endfor %}")
    with committing(base_folder(plan)) as draft:
        shutil.copytree(other, draft, dirs_exist_ok=True)
    assert prompted_tokenizer(plan).chat_template == written
    assert "has changed since the data was prepared" in capsys.readouterr().out


def test_an_end_mark_that_the_base_does_not_stop_at_becomes_its_end(
    make_plan: MakePlan, base: Path, tmp_path: Path
) -> None:
    """As with bases that know their chats' marks and end at the end of a text alone."""
    own = "{% for m in messages %}{{ m.content }}<|im_start|>{% endfor %}"
    other = _base_model(base, tmp_path / "other", own)
    plan = make_plan(rows(20), base={"initialize": "Pretrained", "uri": str(other)})
    prepare(plan)
    assert prompted_tokenizer(plan).eos_token == "<|im_start|>"
    same = make_plan(rows(20), base={"initialize": "Pretrained", "uri": str(base)}, workspace=str(tmp_path / "same"))
    prepare(same)
    assert prompted_tokenizer(same).eos_token == "<|im_end|>"


def test_groups_stay_together(make_plan: MakePlan) -> None:
    content = [{**row, "customer": number // 4} for number, row in enumerate(rows(120))]
    plan = make_plan(content, dataset__columns__group="customer")
    prepare(plan)
    seen = {part: {row["group"] for row in table} for part, table in _tables(plan).items()}
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]


def _bytes(plan: Plan) -> dict[str, bytes]:
    folder = verified_dataset(plan)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_input_and_rules_give_the_same_bytes_however_many_processes(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training_runtime.rows.formats._BLOCK_BYTES", 4096)
    plan = make_plan(rows(200), dataset__duplicate_threshold=0.85)
    first = prepare(plan)
    alone = _bytes(plan)
    monkeypatch.setattr(stage, "_SINGLE_PROCESS_BYTES", 0)
    other = plan.model_copy(update={"workspace": tmp_path / "other"})
    other.workspace.mkdir()
    assert prepare(other) == first
    assert _bytes(other) == alone
    assert len(part_files(other, "train")) > 1


def test_prepared_data_is_reused_and_other_rules_make_other_data(make_plan: MakePlan) -> None:
    plan = make_plan()
    first = prepare(plan)
    before = {path: path.stat().st_mtime_ns for path in verified_dataset(plan).rglob("*")}
    assert prepare(plan) == first
    assert {path: path.stat().st_mtime_ns for path in verified_dataset(plan).rglob("*")} == before
    shorter = plan.model_copy(update={"training": plan.training.model_copy(update={"max_sequence_length": 40})})
    assert prepare(shorter).truncated_percent > 0
    assert prepare(shorter).digest != first.digest
    assert prepare(plan).digest == first.digest  # still on the volume
    assert {path: path.stat().st_mtime_ns for path in verified_dataset(plan).rglob("*")} == before


def test_changed_bytes_are_prepared_anew(make_plan: MakePlan) -> None:
    plan = make_plan()
    first = prepare(plan)
    Path(part_files(plan, "train")[0]).write_bytes(b"changed")
    with pytest.raises(DataError, match="run the prepare stage first"):
        verified_dataset(plan)
    assert prepare(plan) == first
    assert len(_tables(plan)["train"]) == first.train


def test_several_sources_and_formats_are_one_dataset(make_plan: MakePlan, tmp_path: Path) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(60))
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "b.json").write_text(json.dumps(rows(70)[60:]))
    plan = make_plan(rows(100)[70:])
    plan = plan.model_copy(
        update={
            "dataset": plan.dataset.model_copy(update={"sources": [*plan.dataset.sources, SourcePlan(uri=str(folder))]})
        }
    )
    assert prepare(plan).rows == 100


@pytest.mark.parametrize(
    ("action", "rest", "kept"), [("Mask", False, 80), ("Drop", False, 79), ("Report", True, 80), ("None", True, 80)]
)
def test_personal_data_is_treated_as_the_plan_says(make_plan: MakePlan, action: str, kept: int, *, rest: bool) -> None:
    content = rows(80)
    content[7]["input"] = "홍길동의 주민등록번호는 123456-1234567입니다."
    plan = make_plan(content, dataset__pii__action=action)
    found = prepare(plan)
    written = json.dumps(_tables(plan), ensure_ascii=False)
    assert found.rows == kept
    assert ("123456-1234567" in written) == rest
    assert ("홍길동" in written) == rest
    assert ("[주민등록번호]" in written) == (action == "Mask")
    assert found.pii == ({} if action == "None" else {"이름": 1, "주민등록번호": 1})
    if action == "Drop":
        assert [row["reason"] for row in _rejects(plan)] == ["holds 이름, 주민등록번호"]


def test_rows_that_differ_in_what_is_masked_alone_are_repetitions(make_plan: MakePlan) -> None:
    asked = [f"{row['input']} 연락처는 010-{number:04d}-5678 입니다" for number, row in enumerate([rows(1)[0]] * 60)]
    content = [*rows(60)[1:], *({**rows(1)[0], "input": text} for text in asked)]
    chats = [
        {"messages": [{"role": "user", "content": f"{row['instruction']}\n{row['input']}"}, *_ALLOWED]}
        for row in content
    ]
    for data in (content, chats):
        plan = make_plan(data, dataset__duplicate_threshold=0.95)
        assert prepare(plan).duplicates_removed == 59
        plan = make_plan(data, dataset__duplicate_threshold=0.95, dataset__pii__action="None")
        assert prepare(plan).duplicates_removed < 59


_ALLOWED = [{"role": "assistant", "content": "ALLOW"}]
_FORMS = {
    "properties": {
        "action": {"enum": ["BLOCK", "ALLOW"]},
        "phone": {"type": ["string", "number"], "pattern": "^[0-9-]*$"},
    }
}


@pytest.mark.parametrize(
    ("output", "schema", "reason"),
    [
        ({"action": "ALLOW", "amount": 1234567890123}, _FORMS, ""),
        ({"action": "ALLOW", "who": "홍길동 씨"}, _FORMS, ""),
        ({"action": "ALLOW", "phone": "010-1234-5678"}, None, ""),
        (
            {"action": "ALLOW", "phone": "010-1234-5678"},
            _FORMS,
            "breaks responseSchema once personal data is masked, at phone: '[전화번호]' does not match",
        ),
        ({"action": "ALLOW", "phone": 1012345678}, _FORMS, "holds personal data as the JSON number 'phone'"),
    ],
)
def test_a_masked_answer_is_still_json_that_fits_the_schema(
    make_plan: MakePlan, output: dict[str, Any], schema: dict[str, Any] | None, reason: str
) -> None:
    content = [*rows(79), {"instruction": "판단하라.", "input": "새로운 질문 하나", "output": output}]
    plan = make_plan(content, dataset__response_schema=schema)
    assert prepare(plan).rejected == bool(reason), "a bad row, not one that a rule took away"
    answers = [json.loads(row["messages"])[-1]["content"] for part in _tables(plan).values() for row in part]
    assert {type(json.loads(answer)) for answer in answers} == {dict}
    rejects = _rejects(plan)
    assert [row["kind"] for row in rejects] == ["unmaskable"] * bool(reason)
    assert all(row["reason"].startswith(reason) for row in rejects)
    assert len(answers) == 80 - len(rejects)


def test_an_answer_that_the_schema_follows_down_too_deeply_is_a_bad_row(make_plan: MakePlan) -> None:
    bad = {"instruction": "판단하라.", "input": "새로운 질문 하나", "output": '{"a":' * 400 + "{}" + "}" * 400}
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    plan = make_plan([*rows(79), bad], dataset__response_schema=schema)
    assert prepare(plan).rejected == 1
    assert [row["reason"] for row in _rejects(plan)] == ["breaks responseSchema at the answer: it is nested too deeply"]


def test_a_reason_does_not_hold_the_personal_data_that_is_masked(make_plan: MakePlan) -> None:
    bad = {"instruction": "판단하라.", "input": "질문", "output": {"action": "010-1234-5678"}}
    plan = make_plan([*rows(79), bad], dataset__response_schema=_FORMS)
    prepare(plan)
    assert [row["reason"] for row in _rejects(plan)] == [
        "breaks responseSchema at action: '[전화번호]' is not one of ['BLOCK', 'ALLOW']"
    ]


def test_the_report_shows_what_was_found(make_plan: MakePlan) -> None:
    content = rows(80)
    content[3]["input"] = "연락처는 010-1234-5678 입니다"
    plan = make_plan(
        [*content, content[0], content[0], {"x": 1}],
        dataset__duplicate_threshold=0.9,
        dataset__split__stratify_by="output.action",
    )
    prepare(plan)
    page = (verified_dataset(plan) / "report.html").read_text()
    assert page.count("<svg") == 5
    for text in (
        "duplicates removed",
        "3 times",
        "전화번호",
        "has no instruction",
        "as training reads it",
        "[전화번호]",
        "BLOCK",
        "tokens",
    ):
        assert text in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ([], {}, "rows.jsonl is empty"),
        ([{"x": 1}] * 9, {}, "no template fits the columns x"),
        ([{"x": 1}] * 9, {"dataset__template": "Alpaca"}, "what they have: rows.jsonl line 1: has no instruction"),
        (rows(4), {}, "4 rows leave none for validation"),
        (rows(80), {"training__max_sequence_length": 5}, "all rows are too long: none has an answer within 5 tokens"),
        (
            rows(80),
            {"training__max_sequence_length": 45, "dataset__max_truncated_percent": 1.0},
            "would be cut, where 1 % are allowed",
        ),
        (
            [*rows(20), *[{"x": 1}] * 3],
            {},
            "13.0 % where 5 % are allowed: mend them, or raise dataset.maxRejectedPercent: rows.jsonl line 21",
        ),
        (rows(20), {"dataset__columns__output": "result"}, "what they have: rows.jsonl line 1: has no result"),
        (
            rows(20),
            {"dataset__sources": [{"uri": "/nowhere/rows.jsonl"}]},
            "/nowhere/rows.jsonl is not there: check dataset.source",
        ),
    ],
)
def test_bad_data_says_what_is_wrong(
    make_plan: MakePlan, content: list[Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        prepare(make_plan(content, **changes))
    assert message in str(caught.value)


def test_copies_of_sources_do_not_stay(make_plan: MakePlan) -> None:
    plan = make_plan()
    prepare(plan)
    assert sorted(path.name for path in (plan.workspace / "data").iterdir()) == sorted(
        [verified_dataset(plan).name, "current"]
    )


def test_a_preparation_that_is_asked_to_end_ends_and_is_done_by_the_next(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(rows(20_000), dataset__duplicate_threshold=0.9)
    path, log = tmp_path / "plan.json", tmp_path / "log"
    path.write_text(plan.model_dump_json())
    command = [sys.executable, "-m", "training_runtime", "prepare", "--plan", str(path)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while '"event"' not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) == ExitCode.PREEMPTED, log.read_text()
    assert "asked to end" in log.read_text()
    assert prepare(plan).rows > 0


def test_a_row_that_the_template_cannot_write_is_a_bad_row_and_not_the_end(make_plan: MakePlan, base: Path) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
        "{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )

    def chat(number: int, role: str) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": f"질문 {number} {number * 7919 % 1009}"},
                {"role": role, "content": f"{number * 104729 % 997}"},
                {"role": "assistant", "content": "답"},
            ]
        }

    chats = [chat(number, "tool" if number == 30 else "user") for number in range(40)]
    given: dict[str, Any] = {
        "base": {"initialize": "Pretrained", "uri": str(base)},
        "dataset__template": "Messages",
        "dataset__prompt": {"chat_template": template},
    }
    plan = make_plan(chats, **given)
    assert prepare(plan).rejected == 1
    [row] = [row for row in _rejects(plan) if row["kind"] == "unwritable"]
    assert row["line"] == 31
    with pytest.raises(DataError, match=r"1 rows cannot be used, 2\.5 % where 0 % are allowed: .* line 31: "):
        prepare(make_plan(chats, **given, dataset__max_rejected_percent=0))
