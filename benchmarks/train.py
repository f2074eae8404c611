"""Measure training beside bare TRL: `.envs/trainer/bin/python -m benchmarks.train`.

Both train the same tokens with the same settings, in turns, each in a process of its own; the time is that of the
steps, without imports. Packing is compared on short rows, about as many tokens in a step either way; a checkpoint's
stall with Trainer's own save. `--gpu` takes a
random-initialised 8B configuration instead, LoRA in bf16, packed to 2,048 tokens, and where it is installed Unsloth
trains it as well.
"""

import argparse
import importlib.util
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["main"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_ROUNDS, _PACKED_ROUNDS = 5, 3
_STEPS, _PACKED_STEPS, _WARM_UP = 80, 40, 20
_TINY = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "vocab_size": 1500,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "tie_word_embeddings": True,
    "max_position_embeddings": 2048,
}
_LARGE = {
    **_TINY,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": False,
}
_H100_FLOPS = 989e12
"""Of dense bf16, by NVIDIA's data sheet of the H100 SXM: what the share that is used is a share of."""
_LORA = {"rank": 16, "alpha": 16, "dropout": 0.0, "target_modules": ["all-linear"]}


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu", action="store_true", help="an 8B configuration with random weights, LoRA in bf16")
    parser.add_argument(
        "--one", choices=tuple(_TRAINERS), help="run once, and print the figures (used by this program)"
    )
    parser.add_argument("--plan", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_TRAINERS[options.one](options.plan)))
        return 0
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        plain = _prepared(folder / "plain", gpu=options.gpu, batch=4 if options.gpu else 8, packing=options.gpu)
        rounds = [_pair(plain, ours_first=number % 2 == 0) for number in range(1 if options.gpu else _ROUNDS)]
        print("| what | goal | median | least | greatest |\n| --- | --- | --- | --- | --- |")
        _row("time of a step / bare TRL's", "<= 1.02", [ours["step"] / bare["step"] for ours, bare in rounds])
        _row("processor time of a step / bare TRL's", "<= 1.02", [ours["cpu"] / bare["cpu"] for ours, bare in rounds])
        _row(
            "a checkpoint's stall / Trainer's own save",
            "<= 0.2",
            [o["save"] / b["save"] for o, b in rounds if b["save"]],
        )
        _row("largest difference of a loss", "<= 0.01", [_apart(ours, bare) for ours, bare in rounds])
        if options.gpu:
            _gpu_rows(plain, rounds)
        else:
            packed = _prepared(folder / "packed", gpu=False, batch=4, packing=True, steps=_PACKED_STEPS)
            padded = _prepared(folder / "padded", gpu=False, batch=32, packing=False, steps=_PACKED_STEPS)
            ratios = [
                _run("ours", packed)["tokens_per_second"] / _run("ours", padded)["tokens_per_second"]
                for _ in range(_PACKED_ROUNDS)
            ]
            _row("packed / padded tokens per second, short rows", ">= 3", ratios)
        _row("tokens per second", "", [ours["tokens_per_second"] for ours, _ in rounds])
    return 0


def _pair(plan: Path, *, ours_first: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both once; who goes first changes, as a machine does not stay as it was."""
    found = {which: _run(which, plan) for which in (("ours", "bare") if ours_first else ("bare", "ours"))}
    return found["ours"], found["bare"]


def _gpu_rows(plan: Path, rounds: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """What only a GPU has: memory, the share of its arithmetic that is used, and Unsloth, where it is installed."""
    ours = [ours for ours, _ in rounds]
    _row("peak GPU memory, GiB", "", [one["gpu_gib"] for one in ours])
    _row("model FLOPs utilisation, 6 N per token", "", [one["flops"] / _H100_FLOPS for one in ours])
    if importlib.util.find_spec("unsloth"):
        theirs = [_run("unsloth", plan) for _ in rounds]
        pairs = list(zip(ours, theirs, strict=True))
        _row(
            "tokens per second / Unsloth's", ">= 1", [a["tokens_per_second"] / b["tokens_per_second"] for a, b in pairs]
        )
        _row("peak GPU memory / Unsloth's", "", [a["gpu_gib"] / b["gpu_gib"] for a, b in pairs])
        _row("largest difference of a loss to Unsloth's", "<= 0.01", [_apart(a, b) for a, b in pairs])


def _row(what: str, goal: str, figures: list[float]) -> None:
    if figures:
        values = (statistics.median(figures), min(figures), max(figures))
        print(f"| {what} | {goal} | " + " | ".join(f"{value:.4g}" for value in values) + " |", flush=True)


def _apart(ours: dict[str, Any], bare: dict[str, Any]) -> float:
    found: list[float] = [abs(a - b) for a, b in zip(ours["losses"], bare["losses"], strict=True)]
    return max(found)


def _prepared(folder: Path, *, gpu: bool, batch: int, packing: bool, steps: int = _STEPS) -> Path:
    """Prepare rows whose lengths differ as people's do; return the plan."""
    folder.mkdir()
    rng = random.Random(3)  # noqa: S311 - reproducible on purpose
    words = [f"{rng.randrange(10**6):06d}" for _ in range(900)]
    spread = [4] * 12 + [8] * 6 + [60]
    with (folder / "rows.jsonl").open("w") as file:
        for _ in range(4000):
            question, answer = (" ".join(rng.choices(words, k=rng.choice(spread))) for _ in range(2))
            file.write(json.dumps({"question": question, "answer": answer}) + "\n")
    (folder / "config.json").write_text(json.dumps(_LARGE if gpu else _TINY))
    length = 2048 if gpu else 512
    training: dict[str, Any] = {
        "epochs": None,
        "max_steps": steps,
        "learning_rate": 1e-4,
        "per_device_batch_size": batch,
    }
    training |= {"max_sequence_length": length, "save_every_steps": 20, "keep_checkpoints": 2, "log_every_steps": 1}
    training |= {
        "seed": 1,
        "packing": packing,
        "gradient_checkpointing": "Full" if gpu else "None",
        "evaluate_every_steps": 10000,
    }
    plan = {
        "job": {"name": "bench", "namespace": "bench", "uid": "bench"},
        "workspace": str(folder / "workspace"),
        "base": {"initialize": "Random", "uri": str(folder)},
        "dataset": {
            "sources": [{"uri": str(folder / "rows.jsonl")}],
            "duplicate_threshold": None,
            "pii": {"action": "None"},
            "split": {"validation": 0.0, "test": 0.01, "stratify_by": None, "seed": 1},
        },
        "lora": _LORA if gpu else None,
        "training": training,
        "evaluation": {"suites": [], "max_rows": 1, "max_new_tokens": 1},
        "tracking": {"uri": "http://127.0.0.1:9", "experiment": "bench"},
        "model_name": "bench",
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    command: list[str | Path] = [sys.executable, "-m", "training_runtime", "prepare", "--plan", folder / "plan.json"]
    subprocess.run(command, cwd=_CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    return folder / "plan.json"


def _run(which: str, plan: Path) -> dict[str, Any]:
    workspace = Path(json.loads(plan.read_bytes())["workspace"])
    for name in ("checkpoints", "model", "adapter", "tracking", "bare"):
        subprocess.run(["rm", "-rf", workspace / name], check=True)
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.train", "--one", which, "--plan", plan]
    done = subprocess.run(command, cwd=_CHECKOUT, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ours(path: Path) -> dict[str, Any]:
    from training_runtime.plan import Plan
    from training_runtime.train import callback, worker
    from training_runtime.workspace import history_file

    plan = Plan.model_validate_json(path.read_bytes())
    clock = _Clock()
    original = callback.add_callback
    trained: list[Any] = []

    def with_clock(trainer: Any, plan: Any, strategy: Any, checkpoints: Any, *rest: Any) -> Any:  # noqa: ANN401 - the trainer's types
        trained.append(trainer.model)
        trainer.add_callback(clock.callback())
        clock.watch_saving(trainer, checkpoints)
        return original(trainer, plan, strategy, checkpoints, *rest)

    setattr(worker, "add_callback", with_clock)  # noqa: B010 - imported by name there
    worker.train_here(plan)
    losses = [entry["loss"] for entry in json.loads(history_file(plan).read_bytes()) if "loss" in entry]
    return clock.figures(losses, trained[0])


def _bare(path: Path) -> dict[str, Any]:
    """TRL alone: the same tokens, settings and order of rows; checkpoints where Trainer writes them."""
    from transformers import set_seed

    from training_runtime.plan import Plan
    from training_runtime.tokenizer import load_tokenizer
    from training_runtime.train.arguments import adapter_config
    from training_runtime.train.model import draw_weights, load_model
    from training_runtime.workspace import base_folder

    plan = Plan.model_validate_json(path.read_bytes())
    set_seed(plan.training.seed)
    draw_weights(plan)
    set_seed(plan.training.seed)
    return _by_trl(plan, load_model(plan, "Single"), load_tokenizer(base_folder(plan)), adapter_config(plan))


def _unsloth(path: Path) -> dict[str, Any]:
    """Unsloth's own way, from the same weights: its patched model and adapter in TRL's trainer."""
    from unsloth import FastLanguageModel, is_bfloat16_supported  # isort: skip # before all that it patches
    import torch

    from training_runtime.plan import Plan
    from training_runtime.train.model import draw_weights
    from training_runtime.workspace import base_folder

    plan = Plan.model_validate_json(path.read_bytes())
    draw_weights(plan)
    model, tokenizer = FastLanguageModel.from_pretrained(
        str(base_folder(plan)),
        max_seq_length=plan.training.max_sequence_length,
        dtype=torch.bfloat16 if is_bfloat16_supported() else torch.float16,
        load_in_4bit=False,
    )
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = FastLanguageModel.get_peft_model(
        model,
        r=_LORA["rank"],
        lora_alpha=_LORA["alpha"],
        lora_dropout=_LORA["dropout"],
        target_modules=modules,
        use_gradient_checkpointing="unsloth",
        random_state=plan.training.seed,
    )
    return _by_trl(plan, model, tokenizer, None)


def _by_trl(plan: Any, model: Any, tokenizer: Any, adapter: Any) -> dict[str, Any]:  # noqa: ANN401 - the libraries'
    """Train the very rows of ours with TRL's own trainer and the same settings."""
    from transformers import PrinterCallback
    from trl import SFTTrainer

    from training_runtime.train.arguments import trainer_arguments
    from training_runtime.train.dataset import packed, token_rows

    arguments = trainer_arguments(plan, plan.workspace / "bare", "Single", watched=False, on_terminal=False)
    arguments.report_to = []
    clock = _Clock()
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=packed(plan, token_rows(plan, "train")),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[clock.callback()],
    )
    trainer.remove_callback(PrinterCallback)
    clock.watch_saving(trainer, None)
    trainer.train()
    return clock.figures([entry["loss"] for entry in trainer.state.log_history if "loss" in entry], trainer.model)


class _Clock:
    """Seconds between the ends of steps, saves taken out and timed by themselves."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.saves: list[float] = []
        self.saved = 0.0
        self.processor: list[float] = []
        """Seconds of the process on all cores, at the end of each step."""
        self.tokens: list[float] = []

    def callback(self) -> Any:  # noqa: ANN401 - the trainer's type
        import time

        from transformers import TrainerCallback

        clock = self

        class Ends(TrainerCallback):  # type: ignore[misc] # untyped base
            def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:  # noqa: ANN401, ARG002
                if "loss" in logs:
                    clock.ends.append(time.perf_counter() - clock.saved)
                    clock.processor.append(time.process_time())
                    clock.tokens.append(logs.get("num_tokens", 0.0))

        return Ends()

    def watch_saving(self, trainer: Any, checkpoints: Any) -> None:  # noqa: ANN401 - the trainer's types
        """Time Trainer's save, and with it the commit where there is one."""
        import time

        def timed(inner: Any, *, commits: bool) -> Any:  # noqa: ANN401 - any function
            def wrapped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any function's
                began = time.perf_counter()
                result = inner(*args, **kwargs)
                spent = time.perf_counter() - began
                self.saved += spent
                if commits:
                    self.saves[-1] += spent
                else:
                    self.saves.append(spent)
                return result

            return wrapped

        trainer._save_checkpoint = timed(trainer._save_checkpoint, commits=False)  # noqa: SLF001 - what is timed
        if checkpoints:
            checkpoints.submit = timed(checkpoints.submit, commits=True)

    def figures(self, losses: list[float], model: Any) -> dict[str, Any]:  # noqa: ANN401 - the trainer's
        """Return what was measured, without the first steps: while they run, MLflow's client is being imported."""
        import torch

        ends, tokens = self.ends[_WARM_UP:], self.tokens[_WARM_UP:]
        speed = (tokens[-1] - tokens[0]) / (ends[-1] - ends[0])

        steps = [b - a for a, b in itertools.pairwise(ends)]
        processor = self.processor[_WARM_UP:]
        return {
            "step": statistics.median(steps),
            "cpu": (processor[-1] - processor[0]) / len(steps),
            "save": statistics.median(self.saves) if self.saves else 0.0,
            "tokens_per_second": speed,
            "flops": 6 * sum(weight.numel() for weight in model.parameters()) * speed,
            "gpu_gib": torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0,
            "losses": losses,
        }


_TRAINERS = {"ours": _ours, "bare": _bare, "unsloth": _unsloth}

if __name__ == "__main__":
    sys.exit(main())
