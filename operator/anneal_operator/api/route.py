"""Where a model's clients are to go: what is decided, and what routers are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .ab_experiment import ABExperimentSpec

__all__ = ["Route", "Split"]


@dataclass(frozen=True)
class Split:
    """An experiment that splits a model's clients now, or those in its range of a layer."""

    name: str
    uid: str
    spec: ABExperimentSpec
    salt: str
    step: int = 0
    """Of its ramp, from 1; 0 without one."""
    layer_salt: str = ""
    """Where it has a range of a layer."""
    coverage: int = 100
    """The share of its users who take part, in percent."""
    baking: str = ""
    """The variant that has all users but for those held back, once it has won."""
    dropped: frozenset[str] = frozenset()
    """Variants whose users get the control's answers."""


@dataclass(frozen=True)
class Route:
    """Where a model's clients are to go."""

    default: str | None
    named: Mapping[str, str]
    """By what stands behind `@`: a version's number, or an alias."""
    splits: Sequence[Split] = ()
