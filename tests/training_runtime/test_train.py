"""Training for real, in this process: methods, settings, resume to the bit, stopping, guards, results."""

import http.server
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from typing_extensions import override

from training_runtime import HEARTBEAT_VARIABLE
from training_runtime.committed import verified_digest
from training_runtime.errors import DivergedError, GpuMemoryError, PlanError, PreemptedError
from training_runtime.plan import Optimizer, Plan, Scheduler
from training_runtime.tokenizer import load_tokenizer
from training_runtime.train import worker
from training_runtime.train.arguments import _OPTIMIZERS, _SCHEDULERS
from training_runtime.train.checkpoints import CommittedCheckpoints
from training_runtime.train.dataset import packed, sampled, token_rows
from training_runtime.train.model import load_model
from training_runtime.train.stage import train
from training_runtime.train.trainer import make_trainer
from training_runtime.train.watch import StopRequest
from training_runtime.workspace import adapter_folder, history_file, model_folder, results_file

from .conftest import MakePlan, Prepare, rows

LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}


def _losses(plan: Plan) -> list[float]:
    return [entry["loss"] for entry in json.loads(history_file(plan).read_bytes()) if "loss" in entry]


def _pretrained(base: Path, **changes: Any) -> dict[str, Any]:
    return {"base": {"initialize": "Pretrained", "uri": str(base)}, **changes}


METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LORA},
    "lora, named modules": {"lora": {**LORA, "target_modules": ["q_proj", "v_proj"]}},
    "qlora 4 bit": {"lora": LORA, "quantization": {"bits": 4}},
    "qlora 8 bit": {"lora": LORA, "quantization": {"bits": 8}},
    "bf16": {"training__precision": "BF16"},
    "packed": {"training__packing": True},
    "packed lora with checkpointing": {
        "training__packing": True,
        "lora": LORA,
        "training__gradient_checkpointing": "Full",
    },
    "all tokens": {"training__assistant_only_loss": False},
    "adamw": {"training__optimizer": "AdamW", "training__scheduler": "Linear", "training__warmup_ratio": 0.2},
    "8 bit optimizer": {"training__optimizer": "AdamW8bit"},
    "paged optimizer": {"training__optimizer": "PagedAdamW32bit"},
    "constant rate": {"training__scheduler": "ConstantWithWarmup", "training__warmup_steps": 2},
    "accumulated": {"training__gradient_accumulation": 2, "training__per_device_batch_size": 2},
}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_and_leaves_a_whole_model(make_plan: MakePlan, prepare: Prepare, base: Path, name: str) -> None:
    plan = make_plan(**_pretrained(base, training__max_steps=20, training__save_every_steps=20, **METHODS[name]))
    prepare(plan)
    found = train(plan)
    losses = _losses(plan)
    assert found.step == 20
    assert sum(losses[-4:]) < sum(losses[:4]), losses
    assert verified_digest(model_folder(plan))
    weights = load_file(model_folder(plan) / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    assert (verified_digest(adapter_folder(plan)) is not None) == bool(plan.lora)
    assert not [path for path in plan.workspace.glob("model/*") if path.suffix in (".bin", ".pt")]


def test_packing_gives_each_row_itself_alone(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    """A packed row's logits and gradients are those of the row alone: what stands before in its pack is not seen."""
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    plan = make_plan(**_pretrained(base, training__packing=True, training__max_sequence_length=200))
    prepare(plan)
    plain = token_rows(plan, "validation")
    packs = packed(plan, plain)
    assert len(packs) < len(plain)
    model = load_model(plan, "Single").eval()
    assert model.config._attn_implementation == "sdpa_packed"  # noqa: SLF001 - where transformers keeps it
    simple = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    collate = DataCollatorForLanguageModeling(0, padding_free=True)
    first, second = packs[0], packs[1]
    batch = collate([first, second])
    inputs = {name: batch[name] for name in ("input_ids", "position_ids")}
    together = model(**inputs, use_cache=False).logits[0]
    alone = [
        simple(input_ids=ids[None]).logits[0]
        for ids in batch["input_ids"][0].split([*first["seq_lengths"], *second["seq_lengths"]])
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)
    weight = torch.randn(together.shape, generator=torch.Generator().manual_seed(1))
    for logits in (together, torch.cat(alone)):
        (logits * weight).mean().backward()
    for ours, theirs in zip(model.parameters(), simple.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_a_training_that_was_ended_goes_on_to_the_same_bits(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(
        **_pretrained(base, lora={**LORA, "dropout": 0.1}, training__max_steps=12, training__save_every_steps=4)
    )
    prepare(plan)
    train(plan)
    undisturbed, weights = _losses(plan), (model_folder(plan) / "model.safetensors").read_bytes()
    for name in ("model", "adapter", "checkpoints"):
        shutil.rmtree(plan.workspace / name)
    reached = threading.Event()
    agreed, steps = StopRequest.agreed, []

    def asked_at_step_six(self: StopRequest) -> bool:
        steps.append(1)
        if len(steps) == 6:
            reached.set()
            os.kill(os.getpid(), signal.SIGTERM)
        return agreed(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "agreed", asked_at_step_six)
        with pytest.raises(PreemptedError, match="step 6 is saved"):
            train(plan)
    assert reached.is_set()
    assert not model_folder(plan).exists()
    train(plan)
    assert _losses(plan) == undisturbed
    assert (model_folder(plan) / "model.safetensors").read_bytes() == weights


def test_early_stopping_keeps_the_best_weights(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(
        **_pretrained(
            base,
            training__max_steps=60,
            training__learning_rate=0.5,  # it gets worse at once
            training__save_every_steps=2,
            training__keep_checkpoints=1,
            training__early_stopping={"patience": 3},
        )
    )
    prepare(plan)
    found = train(plan)
    results = json.loads(results_file(plan).read_bytes())
    evaluations = {e["step"]: e["eval_loss"] for e in json.loads(history_file(plan).read_bytes()) if "eval_loss" in e}
    assert found.step < 60
    assert results["best_step"] == min(evaluations, key=lambda step: evaluations[step])
    best = plan.workspace / f"checkpoints/step-{results['best_step']:08d}/model.safetensors"
    saved, kept = load_file(model_folder(plan) / "model.safetensors"), load_file(best)
    assert all(torch.equal(saved[name], kept[name]) for name in saved)


def test_the_best_weights_are_kept_where_validation_and_checkpoints_keep_different_steps(
    make_plan: MakePlan, prepare: Prepare, base: Path
) -> None:
    plan = make_plan(
        **_pretrained(
            base,
            training__max_steps=40,
            training__learning_rate=0.05,
            training__scheduler="Constant",
            training__evaluate_every_steps=3,
            training__save_every_steps=20,
            training__keep_checkpoints=1,
            training__early_stopping={"patience": 2},
        )
    )
    prepare(plan)
    train(plan)
    results = json.loads(results_file(plan).read_bytes())
    evaluations = {e["step"]: e["eval_loss"] for e in json.loads(history_file(plan).read_bytes()) if "eval_loss" in e}
    best = min(evaluations, key=lambda step: evaluations[step])
    assert best % 20, "the test must have a best step at which no checkpoint was due"
    assert results["best_step"] == best
    checkpoint = load_file(plan.workspace / f"checkpoints/step-{best:08d}/model.safetensors")
    kept = load_file(model_folder(plan) / "model.safetensors")
    assert all(torch.equal(kept[name], checkpoint[name]) for name in kept)


def test_a_look_at_validation_takes_a_seeded_sample_of_its_rows(
    make_plan: MakePlan, prepare: Prepare, base: Path
) -> None:
    plan = make_plan(rows(200), **_pretrained(base, training__max_evaluation_rows=5))
    prepare(plan)
    every = token_rows(plan, "validation")["input_ids"]
    drawn = sampled(plan, token_rows(plan, "validation"))["input_ids"]
    assert len(every) > 5
    assert len(drawn) == 5
    positions = [list(every).index(ids) for ids in drawn]
    assert positions == sorted(positions)
    assert positions != list(range(5)), "a sample, not the first rows"
    assert list(sampled(plan, token_rows(plan, "validation"))["input_ids"]) == list(drawn)
    seeded = plan.model_copy(update={"training": plan.training.model_copy(update={"seed": 1})})
    assert list(sampled(seeded, token_rows(plan, "validation"))["input_ids"]) != list(drawn)
    checkpoints = CommittedCheckpoints(plan.workspace / "x", 1)
    assert len(make_trainer(plan, "Single", checkpoints, load_tokenizer(base)).eval_dataset) == 5


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize(("precision", "dtype"), [("BF16", torch.bfloat16), ("FP32", torch.float32)])
def test_the_finished_weights_have_the_precision_of_the_training(
    make_plan: MakePlan, prepare: Prepare, base: Path, lora: dict[str, Any] | None, precision: str, dtype: torch.dtype
) -> None:
    plan = make_plan(**_pretrained(base, lora=lora, training__max_steps=2, training__precision=precision))
    prepare(plan)
    train(plan)
    weights = load_file(model_folder(plan) / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {dtype}
    assert json.loads((model_folder(plan) / "config.json").read_bytes())["dtype"] == str(dtype).removeprefix("torch.")
    assert json.loads(results_file(plan).read_bytes())["weights"] == precision


def test_a_loss_that_is_no_number_ends_the_training(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(
        **_pretrained(base, training__learning_rate=1e30, training__max_grad_norm=1e30, training__max_steps=30)
    )
    prepare(plan)
    with pytest.raises(DivergedError, match=r"the loss is (nan|inf) at step \d+: lower training\.learningRate"):
        train(plan)


def test_memory_that_does_not_suffice_names_the_remedy(
    make_plan: MakePlan, prepare: Prepare, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    plan = make_plan(**_pretrained(base))
    prepare(plan)
    monkeypatch.setattr(SFTTrainer, "training_step", full)
    with pytest.raises(GpuMemoryError, match=r"halve training\.perDeviceBatchSize") as caught:
        train(plan)
    assert caught.value.exit_code == 71


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__precision": "FP16"}, "FP16 needs a GPU"),
    ],
)
def test_settings_that_cannot_be_followed_are_a_bad_plan(
    make_plan: MakePlan, prepare: Prepare, base: Path, changes: dict[str, Any], message: str
) -> None:
    plan = make_plan(**_pretrained(base, **changes))
    prepare(plan)
    with pytest.raises(PlanError, match=message):
        train(plan)


def test_every_optimizer_and_scheduler_of_a_plan_is_one_that_the_trainer_knows() -> None:
    assert _OPTIMIZERS.keys() == set(get_args(Optimizer))
    assert _SCHEDULERS.keys() == set(get_args(Scheduler))
    assert set(_OPTIMIZERS.values()) <= {name.value for name in OptimizerNames}
    assert set(_SCHEDULERS.values()) <= {name.value for name in SchedulerType}


def test_a_corrupt_checkpoint_is_passed_over(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(
        **_pretrained(base, training__max_steps=12, training__save_every_steps=4, training__keep_checkpoints=3)
    )
    prepare(plan)
    train(plan)
    undisturbed = _losses(plan)
    shutil.rmtree(model_folder(plan))
    newest = plan.workspace / "checkpoints/step-00000012/model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    train(plan)
    assert _losses(plan) == undisturbed


def test_a_kill_after_the_last_step_adds_none(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(**_pretrained(base, training__scheduler="Constant"))
    prepare(plan)
    first = train(plan)
    losses, weights = _losses(plan), load_file(model_folder(plan) / "model.safetensors")
    shutil.rmtree(model_folder(plan))  # as if killed before it was committed
    assert train(plan) == first
    assert _losses(plan) == losses
    again = load_file(model_folder(plan) / "model.safetensors")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_each_part_of_the_end_is_waited_for_anew(
    make_plan: MakePlan, prepare: Prepare, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []

    def watched(part: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*given: Any) -> Any:
            told.append(tuple((tmp_path / "beat").read_text().split()))
            return part(*given)

        return watching

    for part in ("load_best_weights", "save_weights", "commit_model"):
        monkeypatch.setattr(worker, part, watched(getattr(worker, part)))
    monkeypatch.setenv(HEARTBEAT_VARIABLE, str(tmp_path / "beat"))
    plan = make_plan(**_pretrained(base, training__max_steps=1, training__guards={"stalled_after_seconds": 7}))
    prepare(plan)
    train(plan)
    assert [allowed for _, allowed in told] == ["70"] * 3
    assert len({due for due, _ in told}) == 3


def test_what_a_person_compares_runs_by_is_written_down(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(**_pretrained(base, lora=LORA), content=rows(60))
    prepared = prepare(plan)
    train(plan)
    results = json.loads(results_file(plan).read_bytes())
    assert {name: results[name] for name in ("method", "strategy", "processes", "precision", "steps")} == {
        "method": "LoRA",
        "strategy": "Single",
        "processes": 1,
        "precision": "FP32",
        "steps": 8,
    }
    assert results["dataset"] == prepared.digest
    assert 0 < results["trained_parameters"] < results["parameters"]
    assert results["tokens"] > 0
    assert results["tokens_per_second"] > 0
    assert results["loss"] == _losses(plan)[-1]
    assert list((plan.workspace / "tensorboard").glob("events.out.tfevents.*"))


def test_a_trace_is_written_on_request(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(**_pretrained(base, training__max_steps=2))
    prepare(plan)
    train(plan, profile=True)
    assert list((plan.workspace / "profile").glob("*.pt.trace.json"))


def test_every_log_line_is_json_with_its_event(
    make_plan: MakePlan, prepare: Prepare, base: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(**_pretrained(base))
    prepare(plan)
    train(plan)
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {line["event"] for line in lines} >= {"strategy", "start", "log", "checkpoint"}
    assert [line["step"] for line in lines if line["event"] == "checkpoint"] == [4, 8]


def test_reports_tell_where_an_attempt_began_and_what_is_saved(
    make_plan: MakePlan, prepare: Prepare, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Kubeflow Trainer's protocol, which is what a job's status is made of."""
    heard: list[dict[str, Any]] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        @override
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    (tmp_path / "token").write_text("t")
    plan = make_plan(**_pretrained(base))
    prepare(plan)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
        told = []
        for _ in range(2):
            done = train(plan)
            metrics = {metric["name"]: metric["value"] for metric in heard[-1]["trainerStatus"]["metrics"]}
            told.append((metrics["resumed_from_step"], metrics["checkpoint_step"]))
            shutil.rmtree(model_folder(plan))
        server.shutdown()
    assert told[0] in {("0", "4"), ("0", "8")}  # the last may still be being written
    assert told[1] == ("8", "8")
    committed = (plan.workspace / "checkpoints/step-00000008").stat().st_mtime
    assert float(metrics["checkpoint_time"]) == committed
    assert done.committed_at == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(committed))
