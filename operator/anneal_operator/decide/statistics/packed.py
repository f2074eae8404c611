"""Records as MLflow can keep them: its database takes 5,000 characters in a tag, and many variants with guardrails have
more numbers than that.
"""

import base64
import zlib

__all__ = ["packed", "unpacked"]

_MOST, _MARK = 5000, "zlib:"
_LARGEST = 1 << 20


def packed(text: str) -> str:
    """Return a text that fits: as it is, so that people can read it, unless it is too long for that."""
    if len(text) <= _MOST:
        return text
    return _MARK + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(text: str) -> str:
    """Return what was packed; raise ValueError of what nobody packed."""
    if not text.startswith(_MARK):
        return text
    try:
        unpacking = zlib.decompressobj()
        return unpacking.decompress(base64.b64decode(text.removeprefix(_MARK)), _LARGEST).decode()
    except zlib.error as error:
        raise ValueError("it is not as it was packed") from error
