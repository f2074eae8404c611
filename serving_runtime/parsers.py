"""Which of the engine's parsers read what a model writes: told by its chat template, where the settings say `Auto`.

A template says how a family writes thoughts and tool calls, for it writes those of earlier turns. What it does not say
is guessed at no further: a family that is not in the tables is served without a parser, unless its name is given.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from prompts import TEMPLATE_FILE
from prompts.thinking import ANALYSIS, CHANNEL, THINK

from .plan import ServingPlan

__all__ = ["ToolCalls", "reasoning_parser", "tool_calls"]

# The more particular first: GLM's thoughts open as Qwen's do, and its calls; Seed-OSS writes functions as Qwen's do.
_REASONING = (
    ("<seed:think>", "seed_oss"),
    (ANALYSIS.opening, "openai_gptoss"),
    (CHANNEL.opening, "gemma4"),
    ("<arg_key>", "glm45"),
    (THINK.opening, "qwen3"),
)
_TOOL_CALLS = (
    ("<seed:tool_call>", "seed_oss"),
    ("<|tool_call>", "gemma4"),
    ("<arg_key>", "glm45"),
    ("<function=", "qwen3_coder"),
    ("<|channel|>", "openai"),
    ("<|tool_call_start|>", "lfm2"),
    ("<|tool_list_start|>", "lfm2"),
    ("<tool_call>", "hermes"),
    ("[TOOL_CALLS]", "mistral"),
    ("<|python_tag|>", "llama3_json"),
    ('{"name": function name, "parameters":', "llama3_json"),
)
# Tokens without which the engine's parser does not start; the others read words.
_NEEDED = {"lfm2": "<|tool_call_start|>", "llama3_json": "<|python_tag|>", "mistral": "[TOOL_CALLS]"}
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_EXPRESSION = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)
_WORDS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_TOOLS = re.compile(r"(?<![.\w])tools\b")


@dataclass(frozen=True)
class ToolCalls:
    """What reads a model's tool calls, or why nothing does, as a client is told who sends tools."""

    parser: str = ""
    refusal: str = ""


def reasoning_parser(plan: ServingPlan, folder: Path) -> str:
    """The name of what tells thoughts from answers; none for a model that does not think.

    Everything else of the prompt stands in the template itself, so that plain clients get what training saw.
    """
    if plan.reasoning_parser != "Auto":
        return plan.reasoning_parser.removeprefix("None")
    return _told(_REASONING, _chat_template(folder)) if plan.thinks else ""


def tool_calls(plan: ServingPlan, folder: Path) -> ToolCalls:
    """What reads tool calls. A template without a place for tools would leave them out without a word."""
    chosen, template = plan.tool_call_parser, _chat_template(folder)
    if not _reads_tools(template):
        return ToolCalls(refusal="the model's chat template has no place for `tools`, as it was not taught to call any")
    if chosen == "None":
        return ToolCalls(
            refusal="the model is served without `tools` (`serving.toolCallParser` of its ModelVersion is None)"
        )
    if parser := _fitting(template, folder) if chosen == "Auto" else chosen:
        return ToolCalls(parser)
    return ToolCalls(
        refusal="how the model writes tool calls cannot be told from its chat template: `tools` are taken once "
        "`serving.toolCallParser` of its ModelVersion names a parser"
    )


def _fitting(template: str, folder: Path) -> str:
    parser, tokenizer = _told(_TOOL_CALLS, template), folder / "tokenizer.json"
    needed = _NEEDED.get(parser, "")
    is_there = not needed or not tokenizer.exists() or needed in tokenizer.read_text(encoding="utf-8")
    return parser if is_there else ""


def _chat_template(folder: Path) -> str:
    """The template of a published folder; of several in a tokenizer's settings all, as the engine takes any of them."""
    file, settings = folder / TEMPLATE_FILE, folder / "tokenizer_config.json"
    if file.exists():
        return file.read_text(encoding="utf-8")
    found = json.loads(settings.read_bytes()).get("chat_template") if settings.exists() else None
    if isinstance(found, list):
        return "\n".join(template["template"] for template in found)
    return found or ""


def _reads_tools(template: str) -> bool:
    """Whether any of its expressions does: whatever their words say, and whatever attributes of messages are called."""
    return any(
        _TOOLS.search(_WORDS.sub("", expression)) for expression in _EXPRESSION.findall(_COMMENT.sub("", template))
    )


def _told(signs: tuple[tuple[str, str], ...], template: str) -> str:
    return next((parser for sign, parser in signs if sign in template), "")
