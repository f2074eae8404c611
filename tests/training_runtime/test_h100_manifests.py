"""Every h100 manifest, dry: its plan against a base of the real shape, from the template to the memory of each GPU."""

import csv
import io
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import inject_adapter_in_model
from pyarrow.parquet import read_table
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainingArguments

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.desired.plan import Base, make_plan
from anneal_operator.desired.publishing import model_version
from anneal_operator.desired.tasks import task_table
from demo.users import example_generator
from serving_runtime.tasks.asked import BatchItem, Sampling
from serving_runtime.tasks.question import Asked, Question, asked_by
from tests.support.overlays import job_of
from training_runtime.architecture import count_parameters, empty_model
from training_runtime.plan import Plan, Published
from training_runtime.prepare.pii import Finder
from training_runtime.prepare.stage import prepare
from training_runtime.prepare.tokens import IGNORED
from training_runtime.prepared import part_files
from training_runtime.rows.clean import cleaner_of
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.rows.prompting import Prompting
from training_runtime.rows.templates import Renderer, detected_template
from training_runtime.train.arguments import adapter_config
from training_runtime.train.dataset import packed
from training_runtime.train.strategy import choose
from training_runtime.workspace import base_folder

from .conftest import ROOT
from .families import ORIGINALS, family_tokenizer, learnt
from .memory import Memory, answering, training

EXAMPLES, SHAPES = ROOT / "examples", Path(__file__).with_name("shapes")
PAGE = ROOT / "docs/fine-tune-jobs.md"
_ROWS, _TOKENS = 10_000, 500
"""What the page tells steps for."""
_H100 = 80.0
_DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Manifest:
    """A manifest, and what stands for what it names."""

    shape: str
    data: str
    template: str
    """A family of TRL's, or `own` where it lies beside the shape."""
    end: str
    """The token that ends an answer, which is the tokenizer's end of text."""
    adapted: str = ""
    """The layers that get an adapter."""
    gpu: float = _H100
    """Gigabytes."""


_LLAMA = "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj"
MANIFESTS = {
    "claims-extraction/h100": Manifest("Qwen3-8B", "voices.jsonl", "qwen3", "<|im_end|>", _LLAMA),
    "expressway-assistant/h100": Manifest("Qwen3-32B", "chats.jsonl", "qwen3", "<|im_end|>"),
    "expressway-assistant/h100-lora": Manifest("Qwen3-8B", "chats.jsonl", "qwen3", "<|im_end|>", _LLAMA),
    "civil-law-qa/h100": Manifest(
        "llama-3.2-Korean-Bllossom-3B", "questions.csv", "llama3_2", "<|eot_id|>", _LLAMA, gpu=8.0
    ),
    "support-chatbot/h100": Manifest("Meta-Llama-3-8B-Instruct", "chats.jsonl", "llama3", "<|eot_id|>", _LLAMA),
    "spam-filter/h100": Manifest(
        "EXAONE-3.5-2.4B-Instruct", "data.jsonl", "own", "[|endofturn|]", "k_proj out_proj q_proj v_proj"
    ),
}


def _spec(name: str) -> FineTuneJobSpec:
    return FineTuneJobSpec.parse(job_of(EXAMPLES / name)["spec"])


def _data(name: str) -> Path:
    team, file = name.partition("/")[0], MANIFESTS[name].data
    return next(path for path in (EXAMPLES / team / "data" / file, EXAMPLES / team / file) if path.exists())


def _base(name: str, folder: Path) -> str:
    """A folder as the model's would be, with a tokenizer that learnt from the example's rows, and no weights."""
    manifest = MANIFESTS[name]
    own = SHAPES / manifest.shape / "chat_template.jinja"
    template = own.read_text() if manifest.template == "own" else ORIGINALS[manifest.template]
    shutil.copytree(SHAPES / manifest.shape, folder)
    tokenizer = family_tokenizer(template)
    tokenizer.add_special_tokens({"eos_token": manifest.end})
    lines = _data(name).read_bytes().decode("cp949" if manifest.data.endswith(".csv") else "utf-8").splitlines()
    trained = tokenizer.train_new_from_iterator(lines, 4000)
    trained.chat_template = template
    trained.save_pretrained(folder)
    (folder / "model.safetensors").touch()
    return str(folder)


def _plan(name: str, folder: Path) -> Plan:
    """The operator's plan, with what it mounts or downloads on this machine."""
    base = _base(name, folder / "base")
    metadata = {"name": name.replace("/", "-"), "namespace": "team", "uid": "uid"}
    made = make_plan(metadata, _spec(name), Base(base, base), "http://127.0.0.1:9", "", "")
    plan: dict[str, Any] = made.model_dump(mode="json")
    plan |= {"workspace": str(folder / "workspace")}
    plan["base"] |= {"credentials": None}
    plan["dataset"]["sources"] = [{"uri": str(_data(name)), "format": plan["dataset"]["sources"][0]["format"]}]
    for suite in plan["evaluation"]["suites"]:
        if suite["path"]:
            suite["path"] = str(_data(name).with_name("cases.jsonl"))
    return Plan.model_validate(plan)


@pytest.fixture(params=MANIFESTS)
def name(request: pytest.FixtureRequest) -> str:
    """Each manifest."""
    return str(request.param)


def test_its_rows_teach_the_answers_by_its_base_s_template(name: str, tmp_path: Path) -> None:
    """Prepared against the real shape: layers that the adapter names, lengths and packing are checked on the way."""
    plan = _plan(name, tmp_path)
    found = prepare(plan)
    assert found.rejected == 0
    assert found.train > 100
    assert found.warnings == []
    tokenizer, end = prompted_tokenizer(plan), MANIFESTS[name].end
    whole = 0
    for row in read_table(part_files(plan, "train")[0]).slice(0, 50).to_pylist():
        said = [one["content"] for one in json.loads(row["messages"]) if one["role"] == "assistant"]
        if len(row["input_ids"]) < plan.training.max_sequence_length:
            assert learnt(tokenizer, row["labels"]) == [f"{answer}{end}" for answer in said]
            whole += 1
    assert whole > 25


def _before_the_answer(plan: Plan) -> list[str]:
    """What each row has the model read first, but for rows that are cut."""
    tokenizer, found = prompted_tokenizer(plan), []
    for row in read_table(part_files(plan, "train")[0]).slice(0, 100).to_pylist():
        asked = [label != IGNORED for label in row["labels"]].index(True)
        found.append(tokenizer.decode(row["input_ids"][:asked]))
    return found


def test_claims_are_asked_for_by_the_team_s_prompt_with_the_row_s_dictionary_or_the_default(tmp_path: Path) -> None:
    name = "claims-extraction/h100"
    spec, plan = _spec(name), _plan(name, tmp_path)
    prepare(plan)
    text, defaults = str(spec.prompt.text).partition("{output}")[0], spec.prompt.defaults
    rows = [json.loads(line) for line in _data(name).read_text(encoding="utf-8").splitlines()]
    cleaned, masked = cleaner_of(plan.dataset.clean), Finder.of(plan.dataset.pii.entities).mask
    dictionaries = {row.get("category_dict", defaults["category_dict"]): "category_dict" in row for row in rows}
    expected = {
        text.replace("{instruction}", defaults["instruction"])
        .replace("{input}", masked(cleaned(row["input_text"]))[0])
        .replace("{category_dict}", row.get("category_dict", defaults["category_dict"]))
        for row in rows
    }
    found = _before_the_answer(plan)
    assert set(found) <= expected
    shown = [one.partition("[Category Dict]: ")[2].partition("\n")[0] for one in found]
    assert 20 < sum(dictionaries[one] for one in shown) < 50, "a third of the rows has its own"


def test_a_mail_is_read_after_the_team_s_instruction(tmp_path: Path) -> None:
    name = "spam-filter/h100"
    plan = _plan(name, tmp_path)
    prepare(plan)
    rows = [json.loads(line) for line in _data(name).read_text(encoding="utf-8").splitlines()]
    [instruction] = {row["instruction"] for row in rows}
    assert instruction == example_generator().INSTRUCTION
    times = {row["input"]["received_at"] for row in rows}
    for asked in _before_the_answer(plan):
        before, _, mail = asked.partition(instruction)
        assert before.startswith("[|system|]"), asked
        assert json.loads(mail.removesuffix("[|assistant|]"))["received_at"] in times


def test_civil_law_is_asked_for_under_the_manifest_s_system_prompt(tmp_path: Path) -> None:
    name = "civil-law-qa/h100"
    plan = _plan(name, tmp_path)
    prepare(plan)
    told = "<|start_header_id|>system<|end_header_id|>"
    for asked in _before_the_answer(plan):
        assert str(_spec(name).prompt.system_prompt) in asked.partition(told)[2].partition("<|eot_id|>")[0]


def _rows(name: str) -> list[dict[str, Any]]:
    content = _data(name).read_bytes()
    if MANIFESTS[name].data.endswith(".csv"):
        return list(csv.DictReader(io.StringIO(content.decode("cp949"))))
    return [json.loads(line) for line in content.decode().splitlines()]


def _asked(row: dict[str, Any], plan: Plan) -> Asked:
    """What a client of the task API asks for this row."""
    given = row[plan.dataset.columns.input or "input"]
    categories = row.get("category_dict")
    posted = {"input_text": given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)}
    posted |= {"input_categories": categories} if categories else {}
    posted |= {"instruction": row["instruction"]} if "instruction" in row else {}
    item = BatchItem(**posted)
    return asked_by(item, Sampling())


@pytest.mark.parametrize("name", ["claims-extraction/h100", "civil-law-qa/h100", "spam-filter/h100"])
def test_the_task_api_asks_by_the_tokens_of_training(name: str, tmp_path: Path) -> None:
    spec, plan = _spec(name), _plan(name, tmp_path)
    prepare(plan)
    parent = {"apiVersion": "v1", "kind": "FineTuneJob", "metadata": {"name": "job", "namespace": "team", "uid": "u"}}
    published = Published(run_id="r", experiment_id="1", uri="mlflow-artifacts:/1/r/m", digest=_DIGEST, format="Merged")
    rules = task_table([model_version(parent, spec, published, _DIGEST)]).rules_of("job")
    assert rules
    rows, tokenizer = _rows(name)[:200], prompted_tokenizer(plan)
    template = (
        detected_template(rows[0], plan.dataset.columns) if spec.dataset.template == "Auto" else spec.dataset.template
    )
    renderer, prompting = Renderer(plan.dataset, template), Prompting(tokenizer)
    for row in rows:
        body = Question.of(_asked(row, plan), rules).body
        asked = [{**body["messages"][0], "variables": body.get("chat_template_kwargs", {})}]
        trained = renderer(row).messages[:-1]
        assert tokenizer.encode(prompting.prompt(asked)) == tokenizer.encode(prompting.prompt(trained))
    assert len(rows) > 100


@dataclass(frozen=True)
class DryRun:
    """What a manifest comes to."""

    parameters: int
    trained: int
    layers: str
    strategy: str
    memory: Memory
    answering: float
    steps: int


def _dry_run(name: str, folder: Path) -> DryRun:
    plan = _plan(name, folder)
    shutil.copytree(folder / "base", base_folder(plan))
    model = empty_model(plan)
    parameters, trained, layers = count_parameters(model), count_parameters(model), ""
    strategy = choose(plan, parameters, int(MANIFESTS[name].gpu * 1e9)).strategy
    row = plan.training.max_sequence_length
    longest = max(row + plan.evaluation.max_new_tokens, plan.output.served_length or 0)
    answered = answering(model.to(torch.bfloat16), longest, row, MANIFESTS[name].gpu)
    if plan.lora:
        trained, layers = _adapted(plan, empty_model(plan))
    return DryRun(
        parameters,
        trained,
        layers,
        strategy,
        training(plan, model, trained, strategy),
        answered,
        _steps(plan, folder),
    )


def _adapted(plan: Plan, model: PreTrainedModel) -> tuple[int, str]:
    """How many weights PEFT would train, and beside which layers."""
    inject_adapter_in_model(adapter_config(plan), model, low_cpu_mem_usage=True)
    added = {name: weight for name, weight in model.named_parameters() if ".lora_" in name}
    layers = sorted({name.partition(".lora_")[0].rpartition(".")[2] for name in added})
    return sum(weight.numel() for weight in added.values()), " ".join(layers)


def _steps(plan: Plan, folder: Path) -> int:
    """As Trainer counts them, each process with its share of the batches."""
    settings = plan.training
    row = list(range(_TOKENS))
    rows = packed(plan, Dataset.from_dict({"input_ids": [row] * _ROWS, "labels": [row] * _ROWS}))
    processes = plan.distributed.nodes * plan.distributed.processes_per_node
    batches = math.ceil(math.ceil(len(rows) / settings.per_device_batch_size) / processes)
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=settings.epochs or 3,
        gradient_accumulation_steps=settings.gradient_accumulation,
        use_cpu=True,
        report_to=[],
    )
    trainer = Trainer(model=torch.nn.Linear(1, 1), args=arguments)
    *_, steps = trainer.set_initial_training_values(arguments, DataLoader(range(batches)))
    return int(steps)


def _told(name: str, run: DryRun) -> str:
    """The page's line."""
    trained = "all" if run.trained == run.parameters else f"{run.trained / 1e6:.1f} million"
    spec = _spec(name)
    gpus = spec.stages.train.nodes * spec.stages.train.processes_per_node
    job = name.removesuffix("/h100")
    size, machines = f"{run.parameters / 1e9:.2f} billion", f"{gpus} x {run.strategy}"
    gigabytes = f"{run.memory.total:.0f} GB | {run.answering:.0f} GB"
    return f"| `{job}` | {size} | {trained} | {machines} | {run.steps} | {gigabytes} |"


def test_it_fits_its_gpus_and_comes_to_what_the_page_tells(name: str, tmp_path: Path) -> None:
    manifest, run = MANIFESTS[name], _dry_run(name, tmp_path)
    assert run.layers == manifest.adapted
    assert run.memory.total < manifest.gpu, run.memory
    assert run.answering < manifest.gpu
    assert _told(name, run) in PAGE.read_text(encoding="utf-8").splitlines()


def test_no_manifest_is_left_out() -> None:
    there = {str(path.parent.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/h100*/job.yaml")}
    assert there == set(MANIFESTS)
