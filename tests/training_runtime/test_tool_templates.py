"""Which templates have a place for tools, and who reads the calls that they write: held to what they render."""

from pathlib import Path

import pytest

from prompts.rendering import render
from serving_runtime.parsers import ToolCalls, tool_calls
from serving_runtime.plan import ServingPlan

from .families import OF_PARTS, ORIGINALS

PLAN = ServingPlan(
    tracking_uri="", uri="", digest="", served_name="m", dtype="Auto", max_model_length=64, engine_args=[]
)
PARSERS = {
    "diffusion_gemma": "gemma4",
    "gemma4": "gemma4",
    "glm4moe": "glm45",
    "gptoss": "openai",
    "lfm2": "lfm2",
    "llama3_1": "llama3_json",
    "llama3_2": "llama3_json",
    "nemotron_3": "qwen3_coder",
    "qwen2_5": "hermes",
    "qwen3": "hermes",
    "qwen3_5": "qwen3_coder",
    "qwen3_6": "qwen3_coder",
    "qwen3_8": "qwen3_coder",
}
"""By how the name of a family of TRL's begins; the longest beginning counts."""
_TOOL = {
    "type": "function",
    "function": {
        "name": "toll_between",
        "description": "What it costs.",
        "parameters": {"type": "object", "properties": {"to": {"type": "string", "description": "Where to."}}},
    },
}
TEXTUAL = [name for name in ORIGINALS if name not in OF_PARTS]


@pytest.mark.parametrize("family", TEXTUAL)
def test_a_template_that_renders_tools_has_a_parser_or_its_clients_are_told(tmp_path: Path, family: str) -> None:
    template, found = ORIGINALS[family], _found(tmp_path, family)
    asked = [{"role": "user", "content": "hi"}]
    given = {"bos_token": "<s>", "eos_token": "</s>", "tools": [_TOOL]}
    is_told = "toll_between" in render(template, asked, given, prompt=True).text
    assert is_told is ("no place for `tools`" not in found.refusal)
    assert (found.parser == "") is (found.refusal != "")


@pytest.mark.parametrize("family", TEXTUAL)
def test_calls_are_read_by_the_family_s_own_parser(tmp_path: Path, family: str) -> None:
    beginning = max((name for name in PARSERS if family.startswith(name)), key=len, default="")
    found = _found(tmp_path, family)
    if "no place for `tools`" not in found.refusal:
        assert found.parser == PARSERS.get(beginning, "")


def _found(folder: Path, family: str) -> ToolCalls:
    (folder / "chat_template.jinja").write_text(ORIGINALS[family], encoding="utf-8")
    return tool_calls(PLAN, folder)
