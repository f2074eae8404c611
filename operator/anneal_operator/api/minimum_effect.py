"""How an interval stands to the least difference that matters: one that is shown need not be one that counts."""

from .amounts import difference

__all__ = ["beside_minimum"]


def beside_minimum(lower: float, upper: float, minimum: float, *, increases: bool, source: str = "Feedback") -> str:
    """Return it in words; `increases` says which way is better."""
    least, most = (lower, upper) if increases else (-upper, -lower)
    asked = f"at least {difference(source, minimum, 'g')} was asked for"
    if least >= minimum:
        return f"{asked}: shown to be as much"
    if most < minimum:
        return f"{asked}: shown to be less"
    return f"{asked}: not shown to be as much"
