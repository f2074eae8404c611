"""The base's tokenizer, as every stage loads it."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["digest_of", "end_ids", "load_tokenizer", "own_template"]


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer; raise PlanError where the folder has none.

    Not by AutoTokenizer, whose import takes torch's ten seconds: every fast tokenizer's folder reads the same.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise PlanError(f"the model has no tokenizer that can be loaded: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def own_template(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the chat template that a tokenizer brings; of several, the one that chats without tools are written by."""
    found = tokenizer.chat_template
    return found.get("default") if isinstance(found, dict) else found


def digest_of(template: str | None) -> str:
    """Return by what a chat template is known again."""
    return hashlib.sha256((template or "").encode()).hexdigest()


def end_ids(folder: Path, tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Return the tokens at which a model of this folder stops."""
    found = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        told = json.loads(path.read_bytes()).get("eos_token_id") if path.exists() else None
        found |= set(told) if isinstance(told, list) else {told}
    return found - {None}
