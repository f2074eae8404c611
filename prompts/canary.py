"""What a version answered in its own evaluation, kept beside its weights: who serves them is held to it before it does.

It says token by token how training wrote a question, and how likely the trained weights made the answer. So a server
that renders otherwise, or computes with other weights, is told from one that does not, without asking anybody.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

__all__ = ["CANARY_FILE", "Canary", "CanaryQuestion", "first_difference"]

CANARY_FILE = "canary.json"
"""Where it lies in a published folder, under the folder's digest."""


class _Part(BaseModel):
    # What a later release writes beside is none of this one's: an artifact outlives both.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class CanaryQuestion(_Part):
    """One question, as a client asks it, and what training made of it."""

    messages: list[dict[str, str]] = Field(min_length=1)
    """Roles and texts, up to the answer."""
    variables: dict[str, Any] = {}
    """What the chat template is given beside them: a row's context."""
    prompt_ids: list[int] = Field(min_length=1)
    """The tokens that they came to."""
    answer_ids: list[int] = Field(min_length=1)
    """The tokens of the model's answer, its end mark included where it came to one."""
    mean_log_probability: FiniteFloat
    """Of these after those, as the trained weights have it."""


class Canary(_Part):
    """A few of an evaluation's questions."""

    questions: list[CanaryQuestion] = Field(min_length=1)


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return where two renderings differ first, counted from 0; None where they are the same, token by token."""
    pairs = enumerate(zip_longest(one, other))
    return next((place for place, (token, expected) in pairs if token != expected), None)
