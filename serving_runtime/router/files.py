"""How the agent hands a file to nginx."""

from pathlib import Path

__all__ = ["replace_file"]


def replace_file(target: Path, text: str) -> None:
    """Replace a file in one step: nginx never reads half of one."""
    draft = target.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(target)
