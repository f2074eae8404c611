"""Near-duplicates: MinHash over character shingles, with every candidate's estimate checked."""

from collections.abc import Sequence

__all__ = ["without_duplicates"]

_PERMUTATIONS = 128
_BANDS = 32
_SHINGLE = 4


def without_duplicates(texts: Sequence[str], threshold: float) -> list[int]:
    """Return the positions of the texts that repeat no earlier kept one; `threshold` is a Jaccard similarity."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold, _PERMUTATIONS, _BANDS)
    kept: dict[int, RMinHash] = {}
    for position, text in enumerate(texts):
        sketch = RMinHash(_PERMUTATIONS, 42)
        sketch.update(_shingles(text))
        if not any(sketch.jaccard(kept[candidate]) >= threshold for candidate in index.query(sketch)):
            index.insert(position, sketch)
            kept[position] = sketch
    return list(kept)


def _shingles(text: str) -> list[str]:
    plain = " ".join(text.casefold().split())
    return sorted({plain[i : i + _SHINGLE] for i in range(max(1, len(plain) - _SHINGLE + 1))})
