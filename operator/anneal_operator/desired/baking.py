"""How users are spread while the winner of an experiment bakes: it has all of them, but for some of the control's.

It takes what a route table has anyway, so routers of any build obey it: the winner stands where the control stood, so
it gets whoever names no user, too, and all take part; the first of the control's own buckets are the control's still.
So nobody comes to the control who was not there before, whatever the ramp had reached, and whoever stays was there.
"""

from collections.abc import Sequence

from anneal_operator.api.ab_experiment import buckets_held_back
from serving_runtime.plan import BUCKETS, VariantRoute

__all__ = ["held_back"]


def held_back(variants: Sequence[VariantRoute], control: str, winner: str, percent: int) -> list[VariantRoute]:
    """Return the arms of before as they are while the winner bakes; `percent` of all buckets are held back at most."""
    targets = {variant.name: variant.target for variant in variants}
    begins = dict(zip(targets, [0, *(variant.up_to for variant in variants)], strict=False))
    begin, end = begins[control], next(variant.up_to for variant in variants if variant.name == control)
    ends = [(winner, begin), (control, begin + buckets_held_back(end - begin, percent)), (winner, BUCKETS)]
    arms = [VariantRoute(name=name, target=targets[name], up_to=up_to) for name, up_to in ends]
    return arms[1:] if begin == 0 else arms
