"""Thoughts: how templates switch them, where a message holds its own, and how an answer is told from them."""

import re
from typing import NamedTuple

__all__ = ["ANALYSIS", "CHANNEL", "SWITCHES", "THINK", "Thought", "answer_of", "opens_thought", "parted"]

SWITCHES = {
    "None": {"enable_thinking": False, "thinking": False},
    "Keep": {
        "enable_thinking": True,
        "thinking": True,
        "skip_think": False,
        "preserve_thinking": True,
        "truncate_history_thinking": False,
    },
}
"""What each setting gives the variables that templates read, where they read them."""


class Thought(NamedTuple):
    """How a family writes a thought: what opens it, and what ends it."""

    opening: str
    end: str


THINK = Thought("<think>", "</think>")
CHANNEL = Thought("<|channel>thought", "<channel|>")
ANALYSIS = Thought("<|channel|>analysis<|message|>", "<|end|>")
_FORMS = (THINK, CHANNEL, ANALYSIS, Thought(" to=self<|message|>", "<|eom|>"))
# What a family writes between the turn's beginning and the answer where it parts a turn into channels.
_ANSWERS = re.compile(r"(?:<\|start\|>assistant)?(?:<\|channel\|>final| to=user)<\|message\|>")
_BLOCK = re.compile(r"\A\s*<think>(?P<thought>.*?)</think>\s*", re.DOTALL)


def opens_thought(prompt: str) -> bool:
    """Whether a prompt ends within a thought, so that the model's first words continue it."""
    return any(prompt.rstrip().endswith(opening) for opening, _ in _FORMS)


def parted(content: str) -> tuple[str, str]:
    """Part a message's `<think>…</think>` from its answer; without one the thought is empty."""
    found = _BLOCK.match(content)
    return (found["thought"].strip(), content[found.end() :]) if found else ("", content)


def answer_of(output: str, prompt: str = "") -> str:
    """Return what a model answered, without its thoughts; one cut off in mid-thought answered nothing.

    `output` is the model's words with their special tokens, without the end mark; `prompt` what they follow.
    """
    for opening, end in _FORMS:
        if not (opening in output or prompt.rstrip().endswith(opening)):
            continue
        _, ended, rest = output.rpartition(end)
        if not ended:
            return ""
        output = rest
    marked = list(_ANSWERS.finditer(output))
    return (output[marked[-1].end() :] if marked else output).strip()
