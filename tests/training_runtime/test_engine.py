"""vLLM's part in evaluation, up to the engine itself: what it is asked, what of its answers is taken, how it fails.

`fake_engine` stands in vLLM's place, in the real process that would load it; tests/e2e has the real engine answer.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from training_runtime.committed import committing
from training_runtime.errors import DataError, GpuMemoryError, PlanError, PreemptedError, StageError
from training_runtime.evaluate.answering import ask
from training_runtime.evaluate.answers import answers
from training_runtime.evaluate.engine import Output, _run, answer
from training_runtime.evaluate.generation import RefusedError, engine_arguments, sampling_arguments, tensor_parallel
from training_runtime.evaluate.questions import RowSet, row_sets, write_questions
from training_runtime.evaluate.stage import evaluate
from training_runtime.plan import Plan
from training_runtime.prepare import stage
from training_runtime.tokenizer import load_tokenizer
from training_runtime.workspace import answers_folder, evaluation_folder, model_folder, questions_folder

from .conftest import ROOT, MakePlan, rows, write_rows

FAKE = Path(__file__).parent / "fake_engine"
SCHEMA = {"type": "object", "properties": {"action": {"enum": ["BLOCK", "ALLOW"]}}, "required": ["action"]}
CONSTRAINED = {"name": "bound", "type": "JSON", "constrained": True}
FREE = {"name": "free", "type": "Classification", "label_field": "action"}
CONFIG = {"num_attention_heads": 8, "max_position_embeddings": 1024}


def _model(plan: Plan, **config: Any) -> None:
    with committing(model_folder(plan)) as draft:
        (draft / "config.json").write_text(json.dumps(CONFIG | config))


@pytest.fixture
def prepared(make_plan: MakePlan, base: Path) -> Callable[..., Plan]:
    """Make a plan whose data and base are prepared, and whose model is the base once more."""

    def make(**evaluation: Any) -> Plan:
        changes = {f"evaluation__{name}": value for name, value in evaluation.items()}
        plan = make_plan(
            base={"initialize": "Pretrained", "uri": str(base)}, dataset__response_schema=SCHEMA, **changes
        )
        stage.prepare(plan)
        with committing(model_folder(plan)) as draft:
            for file in base.iterdir():
                (draft / file.name).write_bytes(file.read_bytes())
        return plan

    return make


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the process find it, and return the file in which it writes what it was asked."""
    log = tmp_path / "asked.jsonl"
    monkeypatch.setenv("PYTHONPATH", f"{FAKE}:{ROOT}")
    monkeypatch.setenv("FAKE_ENGINE_LOG", str(log))
    return log


def _read(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_vllm_is_asked_token_for_token_what_transformers_is(
    prepared: Callable[..., Plan], fake_engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = [{**row, "input": f"새 질문 {row['input']}"} for row in rows(5)]
    cases = {"name": "own", "type": "Text", "path": str(write_rows(tmp_path / "own.jsonl", own))}
    plan = prepared(suites=[FREE, cases], max_new_tokens=1)
    asked: dict[str, list[list[list[int]]]] = {}

    def noted(folder: Path, questions: Any, *more: Any, **settings: Any) -> Any:
        asked.setdefault(folder.name, []).append([question.ids for question in questions])
        return answers(folder, questions, *more, **settings)

    monkeypatch.setattr("training_runtime.evaluate.answering.answers", noted)
    assert evaluate(plan).engine == "Transformers"
    assert ask(plan).questions == 13
    assert answer(plan).answers == {"tuned": 13, "base": 13}
    found = _read(fake_engine)
    assert [Path(one["arguments"]["model"]).name for one in found] == ["model", "base"]
    for one, name in zip(found, ("model", "base"), strict=True):
        assert one["prompts"] == [ids for part in asked[name] for ids in part]
    assert len({one["process"] for one in found} | {os.getpid()}) == 3, "each model has a process of its own"


def test_vllm_s_answers_are_judged_and_nothing_is_generated(
    prepared: Callable[..., Plan], fake_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepared(suites=[{"name": "json", "type": "JSON"}])
    ask(plan)
    answer(plan)
    asked = json.loads((questions_folder(plan) / "questions.json").read_bytes())
    good = load_tokenizer(model_folder(plan))('{"action": "BLOCK"}')["input_ids"]
    for name in ("tuned", "base"):
        answered = answers_folder(plan, name) / "answers.json"
        told = json.loads((answered.parent / "manifest.json").read_bytes())
        with committing(answers_folder(plan, name)) as draft:
            sets = [{**one, "ids": [good if name == "tuned" else [] for _ in one["ids"]]} for one in asked["sets"]]
            (draft / "answers.json").write_text(json.dumps({"sets": sets}))
            (draft / "manifest.json").write_text(json.dumps({key: told[key] for key in ("questions", "model")}))
    monkeypatch.setattr("training_runtime.evaluate.answering.answers", None)
    found = evaluate(plan, "VLLM")
    assert (found.engine, found.metrics) == ("VLLM", {"json/json_validity": 1.0, "json/schema_validity": 1.0})
    written = json.loads((evaluation_folder(plan) / "metrics.json").read_bytes())
    assert written["base"] == {"json/json_validity": 0.0, "json/schema_validity": 0.0}
    assert len(_read(fake_engine)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no answers", "vLLM's answers for the tuned model are not on the volume: run the ask step, then"),
        ("another model", "are to other questions, or another model's: run the ask and the answer step again"),
        ("other questions", "are to other questions, or another model's: run the ask and the answer step again"),
        ("half an answer", "vLLM's answers for the tuned model are not on the volume"),
    ],
)
@pytest.mark.usefixtures("fake_engine")
def test_answers_that_are_missing_or_others_are_an_error_with_a_remedy(
    prepared: Callable[..., Plan], change: str, words: str
) -> None:
    plan = prepared(suites=[FREE], compare_base=False)
    if change != "no answers":
        ask(plan)
        answer(plan)
    if change == "another model":
        with committing(model_folder(plan)) as draft:
            (draft / "config.json").write_text("{}")
    if change == "other questions":
        plan = plan.model_copy(update={"evaluation": plan.evaluation.model_copy(update={"max_new_tokens": 5})})
    if change == "half an answer":
        (answers_folder(plan, "tuned") / "answers.json").write_text("{")
    with pytest.raises(DataError, match=words):
        evaluate(plan, "VLLM")


def test_a_schema_that_xgrammar_cannot_bind_is_bound_by_guidance(
    prepared: Callable[..., Plan], fake_engine: Path
) -> None:
    schema = {**SCHEMA, "patternProperties": {"^x": {"type": "string"}}}
    plan = prepared(suites=[CONSTRAINED], compare_base=False)
    plan = plan.model_copy(update={"dataset": plan.dataset.model_copy(update={"response_schema": schema})})
    ask(plan)
    answer(plan)
    assert _read(fake_engine)[0]["arguments"]["structured_outputs_config"]["backend"] == "guidance"


def test_rows_are_asked_both_ways_where_one_suite_is_constrained_and_another_is_not(
    prepared: Callable[..., Plan], fake_engine: Path
) -> None:
    plan = prepared(suites=[CONSTRAINED, FREE, {"name": "rows", "type": "Perplexity"}], compare_base=False)
    assert row_sets(plan) == [RowSet("", constrained=True), RowSet("", constrained=False)]
    ask(plan)
    answer(plan)
    [found] = _read(fake_engine)
    half = len(found["prompts"]) // 2
    assert found["prompts"][:half] == found["prompts"][half:]
    assert [way.get("structured_outputs") for way in found["ways"]] == [{"json": SCHEMA}] * half + [None] * half
    assert found["arguments"]["structured_outputs_config"] == {"backend": "xgrammar", "disable_any_whitespace": True}
    assert evaluate(plan, "VLLM").engine == "VLLM"
    lines = [json.loads(line) for line in (evaluation_folder(plan) / "answers.jsonl").read_text().splitlines()]
    assert [line["constrained"] for line in lines] == [True] * half + [False] * half


def test_test_rows_are_asked_once_where_only_a_constrained_suite_or_none_judges_them(make_plan: MakePlan) -> None:
    own = {**FREE, "path": "/cases"}
    cases: list[tuple[list[dict[str, Any]], list[RowSet]]] = [
        ([], [RowSet("", constrained=False)]),
        ([CONSTRAINED], [RowSet("", constrained=True)]),
        ([own], [RowSet("", constrained=False), RowSet("/cases", constrained=False)]),
        ([own, CONSTRAINED], [RowSet("", constrained=True), RowSet("/cases", constrained=False)]),
    ]
    for suites, expected in cases:
        assert row_sets(make_plan(evaluation__suites=suites)) == expected


@pytest.mark.parametrize("engine", [None, "Transformers"])
def test_a_constrained_suite_without_vllm_is_refused(prepared: Callable[..., Plan], engine: Any) -> None:
    plan = prepared(suites=[CONSTRAINED])
    with pytest.raises(PlanError, match=r"suite bound is constrained, which vLLM alone can do: set evaluation\.engine"):
        evaluate(plan, engine)


def _asked(plan: Plan, *, constrained: bool = False, limit: int = 12) -> None:
    one = {"path": "", "constrained": constrained, "ids": [[5, 6, 7], [5, 8]]}
    content = {"ends": [2, 3], "limit": limit, "seed": 42, "schema": SCHEMA if constrained else None, "sets": [one]}
    write_questions(plan, json.dumps(content))


def test_the_engine_answers_greedily_with_the_plan_s_ends_and_limit(make_plan: MakePlan, fake_engine: Path) -> None:
    plan = make_plan()
    _model(plan)
    (model_folder(plan) / "generation_config.json").write_text('{"repetition_penalty": 1.1, "temperature": 0.7}')
    _asked(plan)
    assert answer(plan).answers == {"tuned": 2}
    [found] = _read(fake_engine)
    assert found["prompts"] == [[5, 6, 7], [5, 8]]
    assert (
        found["ways"]
        == [
            {
                "temperature": 0.0,
                "max_tokens": 12,
                "stop_token_ids": [2, 3],
                "ignore_eos": True,
                "repetition_penalty": 1.1,
                "detokenize": False,
            }
        ]
        * 2
    )
    arguments = found["arguments"]
    assert (arguments["dtype"], arguments["max_model_len"], arguments["seed"]) == ("float32", 15, 42)
    assert (arguments["tokenizer"], arguments["trust_remote_code"]) == (str(model_folder(plan)), False)
    stored = json.loads((answers_folder(plan, "tuned") / "answers.json").read_bytes())
    assert stored == {"sets": [{"path": "", "constrained": False, "ids": [[7], [8]]}]}


def test_what_is_answered_is_not_asked_again_but_other_questions_are(make_plan: MakePlan, fake_engine: Path) -> None:
    plan = make_plan()
    _model(plan)
    _asked(plan)
    assert [answer(plan), answer(plan)][0].answers == {"tuned": 2}
    assert len(_read(fake_engine)) == 1
    _asked(plan, limit=13)
    answer(plan)
    _model(plan, vocab_size=7)
    answer(plan)
    assert len(_read(fake_engine)) == 3


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize(
    ("fails", "error", "words"),
    [
        ("memory", GpuMemoryError, r"have the stage run on larger GPUs.*No available memory for the cache blocks"),
        ("model", PlanError, r"vLLM cannot run this model: set evaluation.engine: Transformers \(Model architectures"),
        ("schema", PlanError, "cannot be constrained to dataset.responseSchema: simplify it, or leave"),
        ("killed", StageError, "vLLM was killed, most likely for want of memory: raise stages.evaluate.resources"),
        ("crash", StageError, "vLLM ended with exit code 1: TypeError: a kernel is missing"),
    ],
)
def test_how_the_engine_failed_is_told(
    make_plan: MakePlan, monkeypatch: pytest.MonkeyPatch, fails: str, error: type[StageError], words: str
) -> None:
    plan = make_plan(evaluation__engine="VLLM", evaluation__suites=[CONSTRAINED])
    _model(plan)
    _asked(plan, constrained=True)
    monkeypatch.setenv("FAKE_ENGINE_FAILS", fails)
    with pytest.raises(StageError, match=words) as caught:
        answer(plan)
    assert type(caught.value) is error
    monkeypatch.setenv("FAKE_ENGINE_FAILS", "")
    assert answer(plan).answers == {"tuned": 2}, "what failed is tried anew"


def test_a_question_longer_than_the_model_is_refused(make_plan: MakePlan, fake_engine: Path) -> None:
    plan = make_plan(evaluation__engine="VLLM")
    _model(plan, max_position_embeddings=3)
    _asked(plan)
    with pytest.raises(PlanError, match="a question has 3 tokens and the model room for 3: leave such rows out"):
        answer(plan)
    assert not fake_engine.exists()


@pytest.mark.parametrize("engine", ["Auto", "VLLM"])
@pytest.mark.usefixtures("fake_engine")
def test_where_nobody_asked_for_vllm_transformers_answers_what_it_cannot(
    prepared: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    plan = prepared(suites=[FREE], engine=engine, max_new_tokens=1)
    ask(plan)
    monkeypatch.setenv("FAKE_ENGINE_FAILS", "model")
    if engine == "VLLM":
        with pytest.raises(PlanError):
            answer(plan)
        return
    assert answer(plan).answers == {"tuned": 0, "base": 0}
    assert evaluate(plan, "VLLM").engine == "Transformers"


def test_an_engine_that_is_interrupted_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "pids"
    child = (
        "import os, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "with open(sys.argv[1], 'w') as file: file.write(f'{os.getpid()} {other.pid}')\n"
        "print('begun', flush=True)\n"
        "time.sleep(600)\n"
    )
    output = Output()

    def interrupt(*_: object) -> None:
        raise PreemptedError("asked to end")

    def read(stream: Iterable[str]) -> None:
        next(iter(stream))
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    monkeypatch.setattr(output, "read", read)
    try:
        with pytest.raises(PreemptedError):
            _run([sys.executable, "-c", child, str(told)], output)
    finally:
        signal.signal(signal.SIGUSR1, before)
    processes, deadline = [int(one) for one in told.read_text().split()], time.monotonic() + 30
    assert len(processes) == 2
    while any(map(_lives, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_lives, processes))


def _lives(process: int) -> bool:
    """One that has ended is still listed until somebody has asked how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_without_questions_there_is_nothing_to_answer(make_plan: MakePlan) -> None:
    with pytest.raises(DataError, match="there are no questions on the volume: run the ask step first"):
        answer(make_plan())


@pytest.mark.parametrize(
    ("gpus", "config", "expected"),
    [
        (0, {"num_attention_heads": 32}, 1),
        (1, {"num_attention_heads": 32}, 1),
        (8, {"num_attention_heads": 32, "num_key_value_heads": 8}, 8),
        (8, {"num_attention_heads": 32, "num_key_value_heads": 2}, 8),
        (8, {"num_attention_heads": 14, "num_key_value_heads": 2}, 2),
        (4, {"num_attention_heads": 28, "num_key_value_heads": 4}, 4),
        (3, {"num_attention_heads": 32, "num_key_value_heads": 8}, 2),
        (4, {"text_config": {"num_attention_heads": 16}}, 4),
        (4, {"n_head": 12}, 4),
        (4, {}, 1),
    ],
)
def test_a_model_is_laid_over_as_many_gpus_as_its_heads_allow(gpus: int, config: dict[str, Any], expected: int) -> None:
    assert tensor_parallel(gpus, config) == expected


@pytest.mark.parametrize(
    ("config", "longest", "room"),
    [({"max_position_embeddings": 100}, 20, 30), ({"max_position_embeddings": 25}, 20, 25), ({}, 20, 30)],
)
def test_an_answer_ends_where_the_model_has_no_more_places(config: dict[str, Any], longest: int, room: int) -> None:
    asked = {"sets": [{"ids": [[1] * longest, [1]]}], "limit": 10, "seed": 1, "schema": None}
    found = engine_arguments(asked, config, gpus=0, memory_bytes=4 << 30)
    assert (found["max_model_len"], found["kv_cache_memory_bytes"]) == (room, 1 << 30)
    on_gpus = engine_arguments(asked, config | {"num_attention_heads": 8}, gpus=2, memory_bytes=4 << 30)
    assert (on_gpus["dtype"], on_gpus["tensor_parallel_size"]) == ("bfloat16", 2)
    assert "kv_cache_memory_bytes" not in on_gpus
    with pytest.raises(RefusedError):
        engine_arguments(asked, {"max_position_embeddings": longest}, gpus=0, memory_bytes=0)
    assert sampling_arguments({"limit": 3, "ends": []}, 1.0)["max_tokens"] == 3


def test_the_server_s_image_needs_no_library_of_the_trainer_s() -> None:
    """What it lacks of what the runtime imports anywhere."""
    lacking = {
        "pyarrow",
        "orjson",
        "pynvml",
        "datasets",
        "sklearn",
        "sacrebleu",
        "rouge_score",
        "lm_eval",
        "peft",
        "trl",
    }
    script = (
        "import sys, training_runtime.__main__; from training_runtime.evaluate import engine, generation; "
        f"print(sorted({lacking!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
