"""What a base is made of is known before a GPU is: its layers, its size, the code it brings, its precision."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training_runtime.architecture import count_parameters, empty_model
from training_runtime.errors import PlanError
from training_runtime.evaluate.stage import evaluate
from training_runtime.plan import Plan
from training_runtime.prepare.stage import prepare as prepare_stage
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.train.checkpoints import CommittedCheckpoints
from training_runtime.train.stage import train
from training_runtime.train.trainer import make_trainer
from training_runtime.workspace import checkpoints_folder, model_folder, results_file

from .conftest import CONFIG, MakePlan, Prepare

LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}
OWN_CODE = """
from transformers import Qwen3Config, Qwen3ForCausalLM


class OwnConfig(Qwen3Config):
    model_type = "own"


class OwnForCausalLM(Qwen3ForCausalLM):
    config_class = OwnConfig
"""
AUTO_MAP = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}


@pytest.fixture
def own_code(base: Path, tmp_path: Path) -> Path:
    """A base whose architecture Transformers does not know: it brings its code."""
    folder = tmp_path / "own-code"
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_bytes())
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": AUTO_MAP}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_own.py").write_text(OWN_CODE)
    return folder


EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
}


def _changed(base: Path, folder: Path, config: dict[str, Any]) -> Path:
    """The base with another configuration."""
    shutil.copytree(base, folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return folder


def _pretrained(base: Path, **changes: Any) -> dict[str, Any]:
    return {"base": {"initialize": "Pretrained", "uri": str(base)}, **changes}


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_a_base_that_brings_its_code_is_trained_and_answers(
    make_plan: MakePlan, own_code: Path, lora: dict[str, Any] | None
) -> None:
    plan = make_plan(**_pretrained(own_code, lora=lora, base__trust_remote_code=True, training__max_steps=2))
    prepare_stage(plan)
    train(plan)
    assert (model_folder(plan) / "modeling_own.py").exists(), "a model that brings code is not whole without it"
    evaluate(plan)


def test_layers_that_are_not_there_are_refused_before_training_whatever_else_matches(
    make_plan: MakePlan, base: Path
) -> None:
    lora = {**LORA, "target_modules": ["q_proj", "out_proj", "self_attn.v_proj", "attention.k_proj"]}
    plan = make_plan(**_pretrained(base, lora=lora))
    with pytest.raises(PlanError, match=r"targetModules: the model has no layer out_proj, attention\.k_proj: ") as told:
        prepare_stage(plan)
    assert "down_proj, embed_tokens, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj" in str(told.value)


def test_training_refuses_them_too(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    plan = make_plan(**_pretrained(base))
    prepare(plan)
    wrong = Plan.model_validate(plan.model_dump() | {"lora": {**LORA, "target_modules": ["q_proj", "nothing_proj"]}})
    with pytest.raises(PlanError, match="the model has no layer nothing_proj"):
        train(wrong)


def test_experts_that_an_adapter_does_not_reach_are_told(
    make_plan: MakePlan, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sizes = {"num_local_experts": 4, "num_experts_per_tok": 2}
    changes = {**sizes, "model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"]}
    experts = _changed(base, tmp_path / "experts", changes)
    plan = make_plan(**_pretrained(experts, lora=LORA))
    told = prepare_stage(plan).warnings
    assert len(told) == 1
    assert told[0].startswith("the adapter does not reach the experts, ")
    assert "mlp.experts." in told[0]
    assert '"event": "warning"' in capfd.readouterr().out
    assert prepare_stage(plan).warnings == told, "also where the data is prepared already"


def test_experts_that_qlora_leaves_in_sixteen_bits_are_told(make_plan: MakePlan, base: Path, tmp_path: Path) -> None:
    experts = _changed(base, tmp_path / "experts", EXPERTS)
    plan = make_plan(**_pretrained(experts, lora=LORA, quantization={"bits": 4}))
    (told,) = prepare_stage(plan).warnings
    assert told.startswith("QLoRA does not quantize the experts, ")
    assert told.endswith("GB of each GPU in 16 bits")


def test_experts_may_be_named_as_the_layers_that_they_once_were(
    make_plan: MakePlan, base: Path, tmp_path: Path
) -> None:
    experts = _changed(base, tmp_path / "experts", EXPERTS)
    named = {**LORA, "target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]}
    assert prepare_stage(make_plan(**_pretrained(experts, lora=named))).warnings == []
    with pytest.raises(PlanError, match=r"experts cannot be trained so: set tuning\.lora\.dropout to 0"):
        prepare_stage(make_plan(**_pretrained(experts, lora={**named, "dropout": 0.1})))


def test_a_length_that_yarn_stretches_to_is_trained_and_not_served(
    make_plan: MakePlan, base: Path, tmp_path: Path
) -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 256}
    stretched = _changed(base, tmp_path / "yarn", {"max_position_embeddings": 256, "rope_parameters": rope})
    changes = _pretrained(stretched, training__max_sequence_length=512)
    prepare_stage(make_plan(**changes))
    with pytest.raises(PlanError, match=r"^output\.serving\.maxModelLength is 512: lower it to 256, "):
        prepare_stage(make_plan(**changes, output__served_length=512))


def test_a_base_that_reads_pictures_is_trained_as_its_text_class_where_that_loads_it(
    make_plan: MakePlan, base: Path, tmp_path: Path
) -> None:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    text = {**CONFIG, "layer_types": ["full_attention"] * 2, "num_hidden_layers": 2}
    sizes = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}
    config = Qwen3_5Config(text_config={**text, "model_type": "qwen3_5_text"}, vision_config=sizes)
    folder = tmp_path / "pictures"
    shutil.copytree(base, folder)
    (folder / "model.safetensors").unlink()
    Qwen3_5ForConditionalGeneration(config).save_pretrained(folder)
    plan = make_plan(**_pretrained(folder, training__max_steps=2))
    [told] = prepare_stage(plan).warnings
    assert told == (
        "the base reads more than text (vision_config): its language model alone is trained and published, as "
        "Qwen3_5ForCausalLM"
    )
    train(plan)
    made = json.loads((model_folder(plan) / "config.json").read_bytes())
    assert made["architectures"] == ["Qwen3_5ForCausalLM"]
    before, after = (load_file(path / "model.safetensors") for path in (folder, model_folder(plan)))
    name = "layers.0.mlp.gate_proj.weight"
    [old] = [weight for key, weight in before.items() if key.endswith(name)]
    [new] = [weight for key, weight in after.items() if key.endswith(name)]
    assert (old - new).abs().max() < 0.05, "it goes on from the base's weights"


def test_a_model_without_sdpa_is_trained_by_its_own_attention(make_plan: MakePlan, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, GptOssConfig

    kinds = ["sliding_attention", "full_attention"]
    config = GptOssConfig(
        **{**CONFIG, "model_type": "gpt_oss"}, num_local_experts=2, num_experts_per_tok=1, layer_types=kinds
    )
    folder = tmp_path / "gpt-oss"
    shutil.copytree(base, folder)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    plan = make_plan(**_pretrained(folder, training__max_steps=2))
    prepare_stage(plan)
    assert train(plan).step == 2


def test_a_dense_base_gives_no_warning(make_plan: MakePlan, base: Path) -> None:
    assert prepare_stage(make_plan(**_pretrained(base, lora=LORA))).warnings == []


def test_an_architecture_that_nobody_knows_is_a_bad_plan(make_plan: MakePlan, base: Path, tmp_path: Path) -> None:
    unknown = _changed(base, tmp_path / "unknown", {"model_type": "never_heard_of"})
    plan = make_plan(**_pretrained(unknown, lora=LORA))
    with pytest.raises(PlanError, match=r"unknown cannot be built from its configuration: .*never_heard_of"):
        prepare_stage(plan)


@pytest.mark.parametrize(
    ("precision", "computed", "adapter"),
    [
        ("FP16", torch.float16, torch.float32),
        ("BF16", torch.bfloat16, torch.bfloat16),
        ("FP32", torch.float32, torch.float32),
    ],
)
def test_a_quantized_base_computes_as_the_plan_says_and_its_adapter_has_gradients_that_the_scaler_takes(
    make_plan: MakePlan,
    prepare: Prepare,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    computed: torch.dtype,
    adapter: torch.dtype,
) -> None:
    """The real trainer, after TRL has cast the adapter; only the scaler, which needs a GPU, is left out of it."""
    plan = make_plan(**_pretrained(base, lora=LORA, quantization={"bits": 4}))
    prepare(plan)
    for module in ("arguments", "model"):
        monkeypatch.setattr(f"training_runtime.train.{module}.weight_type", lambda _: computed)
    monkeypatch.setattr("training_runtime.train.model.precision", lambda _: precision)
    checkpoints = CommittedCheckpoints(checkpoints_folder(plan), 1)
    model = make_trainer(plan, "Single", checkpoints, prompted_tokenizer(plan)).model
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    quantized = [layer for layer in model.modules() if hasattr(layer, "compute_dtype")]
    assert trained
    assert quantized
    assert {weight.dtype for weight in trained} == {adapter}
    assert {layer.compute_dtype for layer in quantized} == {computed}
    assert {layer.weight.dtype for layer in quantized} == {torch.uint8}


def test_parameters_are_counted_whole(make_plan: MakePlan, prepare: Prepare, base: Path) -> None:
    """Also where a process holds a part of them, or four bits of each."""
    plan = make_plan(
        **_pretrained(base, lora=LORA, quantization={"bits": 4}, training__max_steps=1, training__save_every_steps=1)
    )
    prepare(plan)
    there = sum(tensor.numel() for tensor in load_file(base / "model.safetensors").values())
    assert count_parameters(empty_model(plan)) == there
    train(plan)
    results = json.loads(results_file(plan).read_bytes())
    assert results["parameters"] == there + results["trained_parameters"]
    assert results["trained_parameters"] > 0
