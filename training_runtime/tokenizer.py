"""The base's tokenizer, as every stage loads it."""

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_tokenizer"]


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Load a tokenizer that can render chats; raise PlanError where the folder has none.

    Not by AutoTokenizer, whose import takes torch's ten seconds: every fast tokenizer's folder reads the same.
    """
    from transformers import PreTrainedTokenizerFast

    try:
        tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise PlanError(f"the model has no tokenizer that can be loaded: {error}") from error
    if not tokenizer.chat_template:
        raise PlanError("the model's tokenizer has no chat template: choose an instruction-tuned model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
