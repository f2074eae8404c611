"""How an interval stands to the least difference that matters: one that is shown need not be one that counts."""

__all__ = ["beside_minimum"]


def beside_minimum(lower: float, upper: float, minimum: float, *, increases: bool) -> str:
    """Return it in words; `increases` says which way is better."""
    least, most = (lower, upper) if increases else (-upper, -lower)
    if least >= minimum:
        return f"at least {minimum:g} was asked for: shown to be as much"
    if most < minimum:
        return f"at least {minimum:g} was asked for: shown to be less"
    return f"at least {minimum:g} was asked for: not shown to be as much"
