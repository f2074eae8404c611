"""How long an engine may take until it answers, by how much it has to read."""

from math import ceil

from anneal_operator.api.artifact import Artifact
from anneal_operator.api.quantities import seconds
from anneal_operator.api.serving import Serving

__all__ = ["SLOWEST_READING", "reading_seconds", "startup_seconds"]

SLOWEST_READING = 100_000_000
"""Bytes in a second that a volume gives which is slow and no fault, as one over a network."""
_FIXED_SECONDS = 900
"""For all that is not reading: imports, compilation, graphs, the questions that warm it up."""
_TIMES = 2
"""An engine's weights are read to be verified, and to be loaded."""


def startup_seconds(serving: Serving, artifact: Artifact) -> int:
    """Return the deadline that people set, else one for the artifact's size; what says none is taken for small."""
    if serving.startup_deadline:
        return seconds(serving.startup_deadline)
    return _FIXED_SECONDS + _TIMES * reading_seconds(artifact.bytes or 0, SLOWEST_READING)


def reading_seconds(size: int, bytes_per_second: int) -> int:
    """Return how long so many bytes take at a speed."""
    return ceil(size / bytes_per_second)
