"""When an engine is made as this build would make it: one version after the other, and none in an experiment, nor while
its winner bakes, which is returned where it does not answer.
"""

from .observed_version import ObservedVersion
from .serving_engine import Engine

__all__ = ["update_waits_for", "waits_for_router"]


def update_waits_for(seen: ObservedVersion) -> str:
    """Return what keeps an engine from what this build would make of it; empty where nothing does, or people want
    another.
    """
    engine = seen.engine
    if engine is None or engine.build == seen.build:
        return ""
    is_edited = engine.wish != seen.wish if engine.wish else seen.previous.observed_generation != seen.generation
    if is_edited:
        return ""
    if any(contest.status.decision is None for contest in seen.contests):
        return "its experiment is decided"
    if any(contest.status.phase == "Baking" for contest in seen.contests):
        return "the winner of its experiment has baked"
    if waits_for_router(seen):
        return "no router of an earlier build is left"
    other = _whose_turn(seen)
    return f"{other} is" if other else ""


def waits_for_router(seen: ObservedVersion) -> bool:
    """Return whether an engine that demands no key is to go on so: it begins to when the router sends it."""
    engine, router = seen.engine, seen.router
    if engine is None or engine.demands_key or router is None:
        return False
    return router.is_rolling or not router.sends_key


def _whose_turn(seen: ObservedVersion) -> str:
    """One engine is brought up to date after the other, in the order of their names: a bad image reaches one alone.

    One that never answered holds nobody up, nor does one that fails after it was brought up to date.
    """
    due = {
        name
        for name, engine in seen.other_engines.items()
        if (_is_brought_up(engine) if engine.build == seen.build else name < seen.name)
    }
    return min(due, default="")


def _is_brought_up(engine: Engine) -> bool:
    return engine.is_rolling and engine.has_answered and not engine.is_complete
