"""How the engine is called: each setting as an argument that the pinned engine has, unless weights contradict it."""

import importlib
import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from anneal_operator.api.engine_arguments import ARGUMENTS, RESERVED
from serving_runtime import command
from serving_runtime.canary import CANARY_VARIABLE, HeldTo
from serving_runtime.command import SettingsError, engine_command, engine_environment
from serving_runtime.engine_key import EngineKey
from serving_runtime.plan import AdapterLimits, AdapterRank, ReasoningParser, ServingPlan, ToolCallParser
from serving_runtime.without_tools import REFUSAL_VARIABLE, WithoutTools

from .engine_options import GOLDEN

CHECKOUT = Path(__file__).parents[2]
PLAN = ServingPlan(
    tracking_uri="http://mlflow:5000",
    uri="mlflow-artifacts:/1/run/artifacts/model",
    digest="sha256:0",
    served_name="m",
    dtype="Auto",
    max_model_length=64,
    engine_args=[],
)
ENGINE: dict[str, Any] = json.loads(GOLDEN.read_bytes())
REFUSED = ["--middleware", "serving_runtime.without_tools.WithoutTools"]
_TOOLS = "{% if tools %}{{ tools }}{% endif %}"


def _called(
    folder: Path, template: str | None = "", config: dict[str, Any] | None = None, **settings: Any
) -> list[str]:
    """What follows the maximal length, but for the key."""
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    (folder / "config.json").write_text(json.dumps(config or {}))
    made = engine_command(PLAN.model_copy(update=settings), folder, 8000, is_keyed=False)
    return made[made.index("--max-model-len") + 2 :]


@pytest.mark.parametrize(
    ("config", "settings", "written"),
    [
        ({}, {}, []),
        ({"num_attention_heads": 8}, {"tensor_parallel": 4}, ["--tensor-parallel-size", "4"]),
        ({"text_config": {"num_attention_heads": 8}}, {"tensor_parallel": 2}, ["--tensor-parallel-size", "2"]),
        (
            {"num_attention_heads": 32, "num_key_value_heads": 2},
            {"tensor_parallel": 8},
            ["--tensor-parallel-size", "8"],
        ),
        ({}, {"quantization": "FP8"}, ["--quantization", "fp8_per_tensor"]),
        ({"quantization_config": {"quant_method": "fp8"}}, {"quantization": "FP8"}, []),
        ({"quantization_config": {"quant_method": "awq"}}, {"quantization": "AWQ"}, []),
        ({"quantization_config": {"quant_method": "awq"}}, {}, []),
        ({"text_config": {"quantization_config": {"quant_method": "gptq"}}}, {"quantization": "GPTQ"}, []),
        (
            {"compression_config": {"quant_method": "compressed-tensors"}},
            {"quantization": "CompressedTensors"},
            [],
        ),
        ({}, {"trust_remote_code": True}, ["--trust-remote-code"]),
    ],
)
def test_weights_are_laid_out_and_rounded_as_is_wanted(
    tmp_path: Path, config: dict[str, Any], settings: dict[str, Any], written: list[str]
) -> None:
    assert _called(tmp_path, config=config, **settings) == [*written, *REFUSED]


@pytest.mark.parametrize(
    ("config", "template", "settings", "told"),
    [
        (
            {"num_attention_heads": 14},
            "",
            {"tensor_parallel": 4},
            r"^serving.resources asks for 4 GPUs, .* 14 attention heads, .* one of 1, 2, 7, 14$",
        ),
        (
            {"num_attention_heads": 24, "num_key_value_heads": 4},
            "",
            {"tensor_parallel": 6},
            r"^serving.resources asks for 6 GPUs, .* with 4 of keys and values, .* one of 1, 2, 4, 8, 12, 24$",
        ),
        ({}, "", {"quantization": "AWQ"}, "^serving.quantization is AWQ, and the published weights are not quantized"),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            "",
            {"quantization": "FP8"},
            "^serving.quantization is FP8, and the published weights are quantized by gptq: leave it out",
        ),
        (
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "",
            {},
            "^the weights are quantized by bitsandbytes, which vLLM does not serve: publish them in 16 bits",
        ),
        (
            {},
            "{{ messages }}",
            {"tool_call_parser": "hermes"},
            "^serving.toolCallParser is hermes, but the model's chat template has no place for `tools`",
        ),
    ],
)
def test_what_contradicts_the_weights_is_told_by_its_field(
    tmp_path: Path, config: dict[str, Any], template: str, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        _called(tmp_path, template, config, **settings)


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{{ '<think>' }}", "qwen3"),
        ("{{ '<think>' }}<arg_key>", "glm45"),
        ("<|channel|>analysis<|message|>", "openai_gptoss"),
        ("<|channel>thought", "gemma4"),
        ("<seed:think>", "seed_oss"),
        ("{{ messages }}", ""),
        (None, ""),
    ],
)
def test_thoughts_are_parsed_as_the_chat_template_writes_them(
    tmp_path: Path, template: str | None, parser: str
) -> None:
    written = ["--reasoning-parser", parser] if parser else []
    assert _called(tmp_path, template, thinks=True) == [*written, *REFUSED]
    assert _called(tmp_path, template, thinks=False) == REFUSED
    assert _called(tmp_path, template, thinks=True, reasoning_parser="None") == REFUSED
    named = _called(tmp_path, template, reasoning_parser="deepseek_r1")
    assert named == ["--reasoning-parser", "deepseek_r1", *REFUSED]


@pytest.mark.parametrize(
    ("sign", "setting", "parser"),
    [
        ("<tool_call>", "Auto", "hermes"),
        ("<tool_call><function=", "Auto", "qwen3_coder"),
        ("<seed:tool_call><function=", "Auto", "seed_oss"),
        ("<tool_call><arg_key>", "Auto", "glm45"),
        ("<|tool_call>", "Auto", "gemma4"),
        ("<|channel|>", "Auto", "openai"),
        ("<|tool_call_start|>", "Auto", "lfm2"),
        ("[TOOL_CALLS]", "Auto", "mistral"),
        ("<|python_tag|>", "Auto", "llama3_json"),
        ('{"name": function name, "parameters": dictionary', "Auto", "llama3_json"),
        ("<tool_call>", "kimi_k2", "kimi_k2"),
        ("of its own", "pythonic", "pythonic"),
    ],
)
def test_tool_calls_are_parsed_as_the_chat_template_writes_them(
    tmp_path: Path, sign: str, setting: ToolCallParser, parser: str
) -> None:
    called = _called(tmp_path, sign + _TOOLS, tool_call_parser=setting)
    assert called == ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    plan = PLAN.model_copy(update={"tool_call_parser": setting})
    assert REFUSAL_VARIABLE not in engine_environment(plan, tmp_path)


def test_a_base_has_room_for_adapters_which_its_key_guards(tmp_path: Path) -> None:
    shared = PLAN.model_copy(update={"adapters": AdapterLimits(max_rank=32, at_once=8)})
    (tmp_path / "config.json").write_text("{}")
    called = engine_command(shared, tmp_path, 8000, is_keyed=True)
    assert called[called.index("--enable-lora") :][:7] == [
        *("--enable-lora", "--max-lora-rank", "32", "--max-loras", "8", "--max-cpu-loras", "512"),
    ]
    middleware = [called[at + 1] for at, word in enumerate(called) if word == "--middleware"]
    assert middleware.index("serving_runtime.adapters.Adapters") < middleware.index(
        "serving_runtime.engine_key.EngineKey"
    ), "the engine asks the last one first"
    assert "--lora-modules" not in called, "one that it cannot load would keep it from starting"
    environment = engine_environment(shared, tmp_path)
    assert (environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"], environment["VLLM_PLUGINS"]) == ("1", "")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in engine_environment(PLAN, tmp_path)


def test_the_engine_takes_the_ranks_that_the_api_offers() -> None:
    assert {str(rank) for rank in get_args(AdapterRank)} == set(ENGINE["arguments"]["--max-lora-rank"]) - {"1"}


@pytest.mark.parametrize(("token", "parser"), [("<|python_tag|>", "llama3_json"), ("<tool_call>", "")])
def test_a_parser_that_needs_a_token_is_not_chosen_for_a_tokenizer_without_it(
    tmp_path: Path, token: str, parser: str
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": token}]}))
    called = _called(tmp_path, "<|python_tag|>" + _TOOLS)
    assert called == (["--enable-auto-tool-choice", "--tool-call-parser", parser] if parser else REFUSED)


@pytest.mark.parametrize(
    ("template", "setting", "told"),
    [
        ("<tool_call>{{ messages }}", "Auto", "the model's chat template has no place for `tools`"),
        (None, "Auto", "the model's chat template has no place for `tools`"),
        (_TOOLS, "Auto", "cannot be told from its chat template: `tools` are taken once `serving.toolCallParser`"),
        ("<tool_call>" + _TOOLS, "None", "served without `tools` (`serving.toolCallParser`"),
    ],
)
def test_where_nothing_reads_tool_calls_clients_are_told_why(
    tmp_path: Path,
    template: str | None,
    setting: ToolCallParser,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _called(tmp_path, template, tool_call_parser=setting) == REFUSED
    plan = PLAN.model_copy(update={"tool_call_parser": setting})
    assert told in engine_environment(plan, tmp_path)[REFUSAL_VARIABLE]
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    "settings",
    [
        {"chat_template": "<tool_call>" + _TOOLS},
        {
            "chat_template": [
                {"name": "default", "template": ""},
                {"name": "tool_use", "template": "<tool_call>" + _TOOLS},
            ]
        },
    ],
)
def test_a_template_among_the_tokenizer_s_settings_counts(tmp_path: Path, settings: dict[str, Any]) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert _called(tmp_path, None) == ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]


@pytest.mark.parametrize(
    ("template", "reads"),
    [
        ("{% if tools %}x{% endif %}", True),
        ("{{ tools | tojson }}", True),
        ("{%- if not tools is defined %}{%- set tools = none %}{%- endif %}", True),
        ("{{ 'tools' }}", False),
        ('{{ "it\\"s tools" }}', False),
        ("tools {# {{ tools }} #}{{ message.tools }}{{ custom_tools }}{{ tools_there }}", False),
    ],
)
def test_a_template_has_a_place_for_tools_where_an_expression_reads_them(
    tmp_path: Path, template: str, reads: bool
) -> None:
    assert ("--tool-call-parser" in _called(tmp_path, "<tool_call>" + template)) is reads


def test_nothing_of_a_request_is_read_before_its_key_was(tmp_path: Path) -> None:
    """Starlette asks the last one that was added first; vLLM adds them in the order of its arguments."""
    made = engine_command(PLAN, tmp_path, 8000, is_keyed=True)
    added = [name for flag, name in pairwise(made) if flag == "--middleware"]
    assert added == [command._WITHOUT_TOOLS, command._KEYED]  # noqa: SLF001


def test_no_request_chooses_what_binds_the_answers_to_those_that_follow(tmp_path: Path) -> None:
    made = engine_command(PLAN, tmp_path, 8000, is_keyed=True)
    told = json.loads(made[made.index("--structured-outputs-config") + 1])
    assert told == {"backend": "xgrammar", "disable_any_whitespace": True}


def test_further_arguments_come_last(tmp_path: Path) -> None:
    called = _called(tmp_path, prefix_caching=False, engine_args=["--max-num-seqs=8"])
    assert called == [*REFUSED, "--no-enable-prefix-caching", "--max-num-seqs=8"]


def test_the_middlewares_are_there_by_the_names_that_the_engine_is_given() -> None:
    for path, expected in ((command._KEYED, EngineKey), (command._WITHOUT_TOOLS, WithoutTools)):  # noqa: SLF001
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name) is expected


def test_every_argument_of_ours_is_one_of_the_pinned_engine_s(tmp_path: Path) -> None:
    template = "<tool_call><think>" + _TOOLS
    settings: dict[str, Any] = {
        "tensor_parallel": 2,
        "quantization": "FP8",
        "prefix_caching": False,
        "trust_remote_code": True,
    }
    written = [
        *engine_command(PLAN, tmp_path, 8000, is_keyed=True),
        *_called(tmp_path, template, thinks=True, **settings),
    ]
    flags = {word for word in written if word.startswith("--")}
    assert {"--tool-call-parser", "--reasoning-parser", "--quantization", "--no-enable-prefix-caching"} < flags
    assert flags <= set(ENGINE["arguments"])
    assert ENGINE["arguments"]["--middleware"].endswith(" again")


def test_every_argument_that_is_let_through_is_the_engine_s_and_takes_such_a_value() -> None:
    for argument in ARGUMENTS.values():
        kind = ENGINE["arguments"][f"--{argument.name}"]
        if isinstance(kind, list):
            assert set(argument.pattern.split("|")) <= set(kind), argument.name
        else:
            assert (kind == "switch") == argument.is_switch, argument.name
        if argument.is_switch:
            assert f"--no-{argument.name}" in ENGINE["arguments"]


def test_every_name_that_is_kept_back_is_one_of_the_engine_s() -> None:
    kept_back = [name for reserved in RESERVED for name in reserved.names]
    assert len(kept_back) == len(set(kept_back))
    assert not {f"--{name}" for name in kept_back} - set(ENGINE["arguments"])
    assert not set(kept_back) & set(ARGUMENTS)


def test_parsers_are_called_by_the_engine_s_names() -> None:
    """But for what reads a tokenizer's own response template, which settles both kinds at once."""
    for names, engine in ((ToolCallParser, "tool_call_parsers"), (ReasoningParser, "reasoning_parsers")):
        assert sorted({*get_args(names)} - {"Auto", "None"}) == sorted({*ENGINE[engine]} - {"hf"})
    assert {"fp8", "awq", "gptq", "compressed-tensors", "fp8_per_tensor"} <= set(ENGINE["quantization"])
    assert not {"bitsandbytes", "gguf"} & set(ENGINE["quantization"])


def test_the_list_is_of_the_engine_that_is_pinned() -> None:
    pinned = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["serve"]
    assert pinned == [f"vllm=={ENGINE['version']}"]


def test_what_was_published_with_the_weights_is_what_the_engine_is_held_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert CANARY_VARIABLE not in engine_environment(PLAN, tmp_path)
    assert "no canary.json was published with the weights: answers are not compared" in capsys.readouterr().out
    file = tmp_path / "canary.json"
    question = {"messages": [{"role": "user"}], "prompt_ids": [1], "answer_ids": [2], "mean_log_probability": -0.5}
    file.write_text(json.dumps({"questions": [question], "of a later release": 1}))
    told = engine_environment(PLAN.model_copy(update={"canary_tolerance": 0.2}), tmp_path)[CANARY_VARIABLE]
    assert HeldTo.model_validate_json(told) == HeldTo(file=file, tolerance=0.2)
    file.write_text("[]")
    with pytest.raises(SettingsError, match=r"canary\.json beside the weights is not what a FineTuneJob publishes"):
        engine_environment(PLAN, tmp_path)
