"""Suites against values worked out by hand and by the reference libraries; two models on the same rows."""

import gc
import json
import math
import shutil
import threading
import weakref
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow.parquet import read_table
from typing_extensions import override

from training_runtime.committed import committing
from training_runtime.errors import AccessError, DataError, GpuMemoryError, PlanError
from training_runtime.evaluate.answers import answers, load
from training_runtime.evaluate.asking import Asking, Question
from training_runtime.evaluate.handover import handed_over
from training_runtime.evaluate.harness import run_tasks
from training_runtime.evaluate.judge import judged
from training_runtime.evaluate.losses import losses
from training_runtime.evaluate.scores import Scores, difference
from training_runtime.evaluate.stage import evaluate
from training_runtime.evaluate.suites import judge_answers
from training_runtime.plan import Evaluated, MetricInterval, Plan, SuitePlan
from training_runtime.prepare import stage
from training_runtime.prepared import part_files
from training_runtime.tokenizer import load_tokenizer
from training_runtime.train.stage import train
from training_runtime.workspace import evaluation_folder, model_folder

from .conftest import MakePlan, Prepare, rows, write_rows
from .families import ORIGINALS

BLOCK, ALLOW = '{"action": "BLOCK"}', '{"action": "ALLOW"}'
LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}


def test_classification_by_hand() -> None:
    suite = SuitePlan(name="classification", type="Classification", label_field="action")
    truth = [BLOCK, BLOCK, BLOCK, ALLOW]
    found = judge_answers(suite, [BLOCK, BLOCK, "nonsense", BLOCK], truth, None)
    assert found.all_metrics() == pytest.approx(
        {"accuracy": 0.5, "macro_precision": 1 / 3, "macro_recall": 1 / 3, "macro_f1": 1 / 3}
    )
    assert found.classes["BLOCK"] == pytest.approx({"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3})
    assert found.classes["ALLOW"] == pytest.approx({"precision": 0, "recall": 0, "f1": 0, "support": 1})
    [(title, picture)] = found.pictures
    assert title == "Confusion matrix"
    assert "(none)" in picture
    assert "BLOCK" in picture


def test_the_right_label_in_the_wrong_language_is_a_wrong_answer() -> None:
    def answer(action: str, reason: str | None) -> str:
        return json.dumps({"action": action, **({"reason": reason} if reason else {})}, ensure_ascii=False)

    suite = SuitePlan(name="classification", type="Classification", label_field="action", language_field="reason")
    rows_and_right = [
        (answer("BLOCK", "당첨을 미끼로 합니다."), answer("BLOCK", "대출 광고"), 1.0),
        (answer("BLOCK", "VPN login 페이지가 가짜입니다"), answer("BLOCK", "대출 광고"), 1.0),
        (answer("BLOCK", "Promises a prize."), answer("BLOCK", "대출 광고"), 0.0),
        (answer("ALLOW", "한국어"), answer("BLOCK", "대출 광고"), 0.0),
        (answer("BLOCK", "대출 광고"), answer("BLOCK", "Advertises loans."), 0.0),
        (answer("BLOCK", None), answer("BLOCK", "Advertises loans."), 0.0),
        (answer("BLOCK", "99 %"), answer("BLOCK", "Advertises loans."), 0.0),
        (answer("BLOCK", "99 %"), answer("BLOCK", "100 %"), 1.0),
        ("nonsense", answer("BLOCK", "Advertises loans."), 0.0),
    ]
    found = judge_answers(suite, [row[0] for row in rows_and_right], [row[1] for row in rows_and_right], None)
    accuracy = found.scores["accuracy"]
    assert isinstance(accuracy, Scores)
    assert accuracy.parts == [row[2] for row in rows_and_right]
    [(_, picture)] = found.pictures
    assert "(other language)" in picture


def test_an_answer_that_is_nested_too_deeply_is_no_json() -> None:
    found = judge_answers(SuitePlan(name="json", type="JSON"), ['{"a":' * 5000, "[" * 5000, "{}"], ["{}"] * 3, None)
    assert found.scores["json_validity"].value == pytest.approx(1 / 3)


def test_an_answer_that_a_schema_follows_down_too_deeply_does_not_satisfy_it() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    answers = ['{"a":' * 600 + "{}" + "}" * 600, '{"a": {}}']
    found = judge_answers(SuitePlan(name="json", type="JSON"), answers, ["{}"] * 2, schema)
    assert found.all_metrics() == {"json_validity": 1.0, "schema_validity": 0.5}


def test_an_answer_whose_label_is_nested_too_deeply_has_none() -> None:
    suite = SuitePlan(name="action", type="Classification", label_field="a.b")
    deep = json.dumps({"a": json.dumps({"b": "deep"}).replace('"deep"', "[" * 1015 + "]" * 1015)})
    found = judge_answers(suite, [deep, '{"a":{"b":"x"}}'], ['{"a":{"b":"x"}}'] * 2, None)
    assert found.scores["accuracy"].value == 0.5


def test_a_label_that_the_data_lacks_is_told() -> None:
    with pytest.raises(DataError, match=r"a row's answer has no `action`, '{}': mend the data"):
        judge_answers(
            SuitePlan(name="classification", type="Classification", label_field="action"),
            [BLOCK] * 2,
            [BLOCK, "{}"],
            None,
        )


def test_json_and_schema_validity() -> None:
    schema = {"properties": {"action": {"enum": ["BLOCK"]}}, "required": ["action"]}
    found = judge_answers(SuitePlan(name="json", type="JSON"), [BLOCK, ALLOW, "[1]", "x"], [BLOCK] * 4, schema)
    assert found.all_metrics() == {"json_validity": 0.5, "schema_validity": 0.25}


def test_text_metrics_know_korean() -> None:
    found = judge_answers(
        SuitePlan(name="text", type="Text"), ["통행료는 천 원", "틀림"], ["통행료는 천 원", "전혀 다른 답"], None
    )
    assert found.all_metrics()["exact_match"] == 0.5
    assert found.all_metrics()["rouge_l"] == 0.5
    assert 0.5 <= found.all_metrics()["chrf"] < 0.6
    partly = judge_answers(SuitePlan(name="text", type="Text"), ["a b c d"], ["a x c y"], None)
    assert partly.all_metrics()["rouge_l"] == pytest.approx(0.5)  # two of four words, in order


def test_a_difference_has_an_interval_that_covers_it() -> None:
    tuned, base = Scores.of([1.0] * 80 + [0.0] * 20), Scores.of([1.0] * 50 + [0.0] * 50)
    found = difference(tuned, base, 1)
    assert found == difference(tuned, base, 1)
    assert found.value == pytest.approx(0.3)
    assert 0.1 < found.low < 0.3 < found.high < 0.5
    same = difference(base, base, 1)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_perplexity_weighs_tokens() -> None:
    scores = Scores([2.0, 4.0], [1.0, 3.0], "exponential")
    assert scores.value == pytest.approx(math.exp(6 / 4))


def test_a_model_has_given_its_memory_back_when_the_next_one_is_loaded(base: Path) -> None:
    """A GPU that holds one of them does not hold two, and nobody knows when Python would look for cycles."""
    gc.disable()
    try:
        model = load(base, trust_remote_code=False)
        weight = weakref.ref(model.get_input_embeddings().weight)
        list(losses(model, [([1, 2, 3], [-100, 2, 3])]))
        del model
        load(base, trust_remote_code=False)
        assert weight() is None
    finally:
        gc.enable()


def test_batched_answers_are_those_of_each_question_alone(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    ends = [tokenizer.eos_token_id]
    questions = [Question(text, tokenizer(text)["input_ids"]) for text in ("가", "나 " * 30, "question?")]
    together = answers(base, questions, ends, 8, seed=1, trust=False)
    alone = [answers(base, [question], ends, 8, seed=1, trust=False)[0] for question in questions]
    assert [_until(ends[0], ids) for ids in together] == [_until(ends[0], ids) for ids in alone]


def _until(end: int, ids: list[int]) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


@pytest.mark.parametrize("name", ["Chat", "Text", "thoughts"])
def test_what_is_asked_is_token_for_token_what_was_learnt_from(make_plan: MakePlan, base: Path, name: str) -> None:
    prompts: dict[str, dict[str, Any]] = {
        "Chat": {"dataset__prompt": {"text": "{instruction}|{input}|{area}", "defaults": {"area": "도로"}}},
        "Text": {"dataset__prompt": {"format": "Text", "text": "{instruction}\n{input} {area}\n{output}"}},
        "thoughts": {
            "dataset__prompt": {"chat_template": ORIGINALS["qwen3"], "text": "{instruction}{input}{area}"},
        },
    }
    content = [{**row, "meta": {"area": f"구간 {number}"}} for number, row in enumerate(rows(40))]
    plan = make_plan(
        content,
        base={"initialize": "Pretrained", "uri": str(base)},
        dataset__columns={"context": ["meta.area"]},
        **prompts[name],
    )
    stage.prepare(plan)
    asking = Asking(plan)
    [test] = [read_table(path).to_pylist() for path in part_files(plan, "test")]
    assert test
    for row in test:
        messages = json.loads(row["messages"])
        question = asking.question(messages[:-1])
        assert row["input_ids"][: len(question.ids)] == question.ids
        assert row["labels"][: len(question.ids)] == [-100] * len(question.ids)
        learnt = [token for token in row["labels"] if token != -100]
        assert row["labels"][len(question.ids) :][: len(learnt)] == learnt
        assert asking.answer(question, learnt) == messages[-1]["content"]


def test_a_thought_is_no_part_of_an_answer_and_one_cut_off_is_none(make_plan: MakePlan, base: Path) -> None:
    plan = make_plan(rows(40), base={"initialize": "Pretrained", "uri": str(base)})
    stage.prepare(plan)
    asking, tokenizer = Asking(plan), load_tokenizer(base)
    question = asking.question([{"role": "user", "content": "x"}])
    for output, answer in (("<think>음</think>네", "네"), ("<think>음", ""), ("네<|im_end|>남은 말", "네")):
        assert asking.answer(question, tokenizer(output)["input_ids"]) == answer


class _Judge(BaseHTTPRequestHandler):
    """An OpenAI-compatible judge that likes answers with the word good."""

    seen: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append({"body": body, "key": self.headers.get("Authorization")})
        if self.headers.get("Authorization") == "Bearer wrong":
            self.send_error(401)
            return
        judged_text = body["messages"][0]["content"].split("Answer to judge:\n")[1]
        mark = "5" if judged_text.startswith("good") else "Mark: 2" if judged_text.startswith("bad") else "none"
        content = json.dumps({"choices": [{"message": {"content": mark}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def judge_url() -> Iterator[str]:
    """A judge that listens."""
    _Judge.seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_a_judge_gives_marks(judge_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "secret")
    suite = SuitePlan(name="judge", type="Judge", url=judge_url, model="judge-1", criteria="Be kind.")
    scores = judged(suite, ["q1", "q2", "q3"], ["good", "bad", "odd"], ["e1", "e2", "e3"])
    assert list(scores.parts) == [5.0, 2.0, 1.0]
    assert {request["key"] for request in _Judge.seen} == {"Bearer secret"}
    assert all("Be kind." in request["body"]["messages"][0]["content"] for request in _Judge.seen)


def test_a_judge_that_refuses_is_told(judge_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_API_KEY", "wrong")
    with pytest.raises(AccessError, match=r"does not answer .*401"):
        judged(SuitePlan(name="judge", type="Judge", url=judge_url, model="m"), ["q"], ["a"], ["e"])


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    """A task shaped like KoBEST's BoolQ: a passage, a question, yes or no."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    lines = [{"paragraph": f"도로 {n}호선은 열려 있다.", "question": "열려 있나?", "label": n % 2} for n in range(6)]
    (folder / "boolq.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    (folder / "boolq.yaml").write_text(
        "task: own_boolq\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {folder}/boolq.jsonl\n"
        "output_type: multiple_choice\ntest_split: test\n"
        'doc_to_text: "{{paragraph}} 질문: {{question}} 답변: "\ndoc_to_target: "{{label}}"\n'
        'doc_to_choice: ["아니오", "예"]\n'
        "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
    )
    return folder


@pytest.fixture
def trained(make_plan: MakePlan, prepare: Prepare, base: Path) -> MakePlan:
    """Make a plan that is trained, with the suites given."""

    def make(**changes: Any) -> Plan:
        plan = make_plan(
            base={"initialize": "Pretrained", "uri": str(base)},
            lora=LORA,
            training__learning_rate=1e-2,
            training__max_steps=30,
            training__save_every_steps=30,
            **changes,
        )
        prepare(plan)
        train(plan)
        return plan

    return make


def test_both_models_are_asked_the_same_and_compared(trained: MakePlan, task_folder: Path, tmp_path: Path) -> None:
    own = write_rows(tmp_path / "own.jsonl", [{**row, "input": f"새 질문 {row['input']}"} for row in rows(5)])
    plan = trained(
        evaluation__gated=["text/exact_match"],
        evaluation__suites=[
            {"name": "json", "type": "JSON"},
            {"name": "classification", "type": "Classification", "label_field": "action"},
            {"name": "perplexity", "type": "Perplexity"},
            {"name": "text", "type": "Text", "path": str(own)},
            {"name": "harness", "type": "Harness", "path": str(task_folder), "tasks": ["own_boolq"]},
        ],
    )
    found = evaluate(plan)
    assert evaluate(plan) == found
    written = json.loads((evaluation_folder(plan) / "metrics.json").read_bytes())
    assert written["metrics"] == found.metrics
    assert next(iter(found.metrics)) == "text/exact_match"
    assert (
        found.intervals.keys() == written["intervals"].keys() == written["differences"].keys() == found.metrics.keys()
    )
    assert found.intervals["classification/accuracy"].rows == 8
    assert found.intervals["text/exact_match"].rows == 5
    assert found.intervals["harness/own_boolq.acc"].rows == 6
    for name, interval in found.intervals.items():
        assert interval.low <= found.metrics[name] + 1e-6
        assert interval.high >= found.metrics[name] - 1e-6
    assert found.metrics.keys() >= {
        "json/json_validity",
        "classification/accuracy",
        "classification/macro_f1",
        "perplexity/perplexity",
        "text/exact_match",
        "harness/own_boolq.acc",
    }
    assert written["base"].keys() == found.metrics.keys()
    assert found.metrics["perplexity/perplexity"] < written["base"]["perplexity/perplexity"]
    gap = written["differences"]["perplexity/perplexity"]
    assert gap["low"] <= gap["value"] <= gap["high"] < 0
    lines = [json.loads(line) for line in (evaluation_folder(plan) / "answers.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines].count("test") == 8
    assert [line["file"] for line in lines].count(str(own)) == 5
    assert all({"tuned_answer", "base_answer"} <= line.keys() for line in lines)
    page = (evaluation_folder(plan) / "report.html").read_text()
    for text in (
        "Confusion matrix",
        "<svg",
        "difference (95 % interval)",
        "tuned (95 % interval)",
        "perplexity/perplexity",
        "harness/own_boolq.acc",
    ):
        assert text in page


def test_a_new_base_is_not_asked(make_plan: MakePlan) -> None:
    plan = make_plan(evaluation__suites=[{"name": "json", "type": "JSON"}])
    stage.prepare(plan)
    train(plan)
    evaluate(plan)
    assert json.loads((evaluation_folder(plan) / "metrics.json").read_bytes())["base"] == {}


@pytest.mark.parametrize(
    ("suite", "error", "message"),
    [
        (
            {"name": "rows", "type": "Perplexity", "path": "OWN"},
            PlanError,
            "perplexity is that of the test rows",
        ),
        (
            {"name": "harness", "type": "Harness", "path": "FOLDER", "tasks": ["nothing"]},
            PlanError,
            "has no task nothing: there are own_boolq",
        ),
        ({"name": "harness", "type": "Harness"}, PlanError, "needs `path`, a folder of task files"),
        ({"name": "judge", "type": "Judge"}, PlanError, "needs `url`"),
        (
            {"name": "json", "type": "JSON", "schema_path": "/nowhere.json"},
            PlanError,
            "schema /nowhere.json cannot be read",
        ),
    ],
)
def test_a_suite_that_cannot_be_run_says_why(
    make_plan: MakePlan,
    prepare: Prepare,
    base: Path,
    task_folder: Path,
    tmp_path: Path,
    suite: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    if suite.get("path") == "FOLDER":
        suite = {**suite, "path": str(task_folder)}
    if suite.get("path") == "OWN":
        own = [{"instruction": "판단하라.", "input": "새 질문", "output": {"action": "BLOCK"}}]
        suite = {**suite, "path": str(write_rows(tmp_path / "own.jsonl", own))}
    plan = make_plan(
        base={"initialize": "Pretrained", "uri": str(base)},
        evaluation__suites=[suite],
        evaluation__max_new_tokens=1,
        evaluation__compare_base=False,
    )
    prepare(plan)
    with committing(model_folder(plan)) as draft:
        shutil.copytree(base, draft, dirs_exist_ok=True)
    with pytest.raises(error, match=message):
        evaluate(plan)


def test_no_more_is_handed_back_than_a_termination_message_holds_and_what_gates_name_comes_first() -> None:
    metrics = {f"{'s' * 63}/metric_{number}": 0.123456789012345678 for number in range(200)}
    intervals = {name: MetricInterval(low=0.1234567890123, high=0.2345678901234, rows=10**6) for name in metrics}
    names = list(metrics)
    gated = [names[150], "nobody/measures-this", names[7], names[150]]
    kept = handed_over(metrics, intervals, gated)
    assert list(kept.intervals) == [names[150], names[7]]
    assert list(kept.metrics)[:3] == [names[150], names[7], names[0]]
    assert 25 < len(kept.metrics) < 60
    assert len(kept.model_dump_json().encode()) <= 4096


def test_all_is_handed_back_where_there_is_room() -> None:
    interval = MetricInterval(low=0.25, high=0.75, rows=10)
    kept = handed_over({"a/x": 0.5, "a/y": 1.5}, {"a/x": interval}, [])
    assert kept == Evaluated(metrics={"a/x": 0.5, "a/y": 1.5}, intervals={"a/x": interval})


def test_a_number_that_is_none_is_not_handed_back() -> None:
    interval = MetricInterval.model_construct(low=math.nan, high=1.0, rows=10)
    kept = handed_over({"a/x": math.nan, "a/y": 1.5}, {"a/y": interval}, ["a/x"])
    assert kept == Evaluated(metrics={"a/y": 1.5})


def test_rows_that_the_memory_does_not_hold_together_are_asked_in_halves(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = load(base, trust_remote_code=False), list[int]()
    generate = model.generate

    def small(input_ids: torch.Tensor, **settings: Any) -> Any:
        asked.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return generate(input_ids=input_ids, **settings)

    monkeypatch.setattr(model, "generate", small)
    monkeypatch.setattr("training_runtime.evaluate.answers.load", lambda *_, **__: model)
    tokenizer = load_tokenizer(base)
    questions = [Question(text, tokenizer(text)["input_ids"]) for text in ("가", "나 " * 30, "question?")]
    ends = [tokenizer.eos_token_id]
    found = answers(base, questions, ends, 8, seed=1, trust=False)
    assert asked == [3, 1, 2]
    monkeypatch.undo()
    together = answers(base, questions, ends, 8, seed=1, trust=False)
    assert [_until(ends[0], ids) for ids in found] == [_until(ends[0], ids) for ids in together]


def test_a_gpu_without_enough_memory_is_told_as_such(make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    plan = make_plan()
    with committing(model_folder(plan)) as draft:
        (draft / "config.json").write_text("{}")
    monkeypatch.setattr("training_runtime.evaluate.stage._evaluate", fail)
    with pytest.raises(GpuMemoryError, match=r"lower evaluation\.maxNewTokens.*Tried to allocate") as caught:
        evaluate(plan)
    assert caught.value.exit_code == 71


def test_of_a_task_s_rows_a_sample_is_asked(base: Path, task_folder: Path) -> None:
    lines = [{"paragraph": "도로", "question": f"{n}?", "label": int(n >= 20)} for n in range(40)]
    (task_folder / "boolq.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    suite = SuitePlan(name="harness", type="Harness", path=str(task_folder), tasks=["own_boolq"])
    found = run_tasks(suite, base, most=12, seed=1, trust=False)
    accuracy = found.scores["own_boolq.acc"]
    assert accuracy.count == 12
    always_one_label = accuracy.value in (0.0, 1.0)  # what a model that knows nothing does, if only one label is asked
    assert not always_one_label
