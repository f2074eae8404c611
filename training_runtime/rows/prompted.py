"""The base's tokenizer as rows were written by it, for the stages after preparation."""

from typing import TYPE_CHECKING

from training_runtime.log import log_event
from training_runtime.plan import Plan
from training_runtime.prepared import prepared_prompt
from training_runtime.tokenizer import digest_of, load_tokenizer, own_template
from training_runtime.workspace import base_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["prompted_tokenizer"]


def prompted_tokenizer(plan: Plan) -> "PreTrainedTokenizerBase":
    """Load the tokenizer with the dataset's chat template; saved, it is what serves the trained model.

    A base whose own template is another than when the rows were written is told of, and not followed.
    """
    tokenizer = load_tokenizer(base_folder(plan))
    prompt = prepared_prompt(plan)
    if digest_of(own_template(tokenizer)) != prompt.source:
        told = "the base's chat template has changed since the data was prepared, whose template is used"
        log_event("warning", message=told)
    if prompt.template:
        tokenizer.chat_template = prompt.template
    if prompt.end:
        tokenizer.eos_token = prompt.end
    return tokenizer
