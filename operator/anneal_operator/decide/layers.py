"""Which experiments on one model run at once: those that have other users, by disjoint ranges of the same layer.

Whoever is in two would be analysed in one experiment under another's variants.
"""

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.assignment import Layer

__all__ = ["clash"]


def clash(own: ABExperimentSpec, name: str, other: ABExperimentSpec | None) -> str:
    """Return why an experiment waits for another on its model, and what to do; empty where both may run.

    `other` is None of one that cannot be read.
    """
    waits = f"experiment {name} has the traffic of {own.model_name}; this one waits for its end"
    mine, theirs = own.assignment.layer, other.assignment.layer if other else None
    if other is None or mine is None or theirs is None:
        return f"{waits}, unless both have disjoint ranges of one `assignment.layer`"
    if mine.name != theirs.name:
        return (
            f"{waits}: it is in layer {theirs.name}, and this one in {mine.name}; users are in both, so take one layer"
        )
    if mine.begin < theirs.end and theirs.begin < mine.end:
        return (
            f"{waits}: of layer {mine.name} it has {_told(theirs)}, and this one {_told(mine)}; take a range beside it"
        )
    if own.assignment.key_from != other.assignment.key_from:
        return f"{waits}: its `assignment.keyFrom` names users otherwise, so some would be in both; take the same"
    return ""


def _told(layer: Layer) -> str:
    return f"the buckets from {layer.begin} to {layer.end}"
