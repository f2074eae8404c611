"""Which chat template the plan comes to: the user's or the tokenizer's, in TRL's edition for training where it has one.

TRL ships, for the families it knows, each model's own template and one for training: with `{% generation %}` marks, and
without what makes an earlier turn read otherwise once another follows. A tokenizer's template that is one of the
former, byte for byte, is replaced by the latter, for training and for serving alike.
"""

from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from prompts.rendering import PromptError, is_marked, variables_of
from training_runtime.errors import PlanError
from training_runtime.plan import Plan
from training_runtime.prepared import PreparedPrompt
from training_runtime.rows.prompting import Prompting, template_of
from training_runtime.tokenizer import digest_of, end_ids, load_tokenizer, own_template
from training_runtime.workspace import base_folder

__all__ = ["made_prompt", "training_edition"]

_TRAINING = "_training"


def made_prompt(plan: Plan) -> PreparedPrompt:
    """Return the prompt that rows are written by; raise PlanError where the plan's cannot be made."""
    folder = base_folder(plan)
    tokenizer = load_tokenizer(folder)
    own = own_template(tokenizer)
    wanted = plan.dataset.prompt
    source = wanted.chat_template or own
    try:
        edition = training_edition(source) if source else None
    except PromptError as error:
        raise PlanError(str(error)) from error
    tokenizer.chat_template = template = template_of(wanted, plan.dataset.columns, edition, tokenizer)
    end = Prompting(tokenizer).end_mark() if template and "eos_token" not in variables_of(template) else None
    stops = end is None or tokenizer.convert_tokens_to_ids(end) in end_ids(folder, tokenizer)
    return PreparedPrompt(template, digest_of(own), "" if stops else str(end))


def training_edition(source: str) -> str:
    """Return TRL's edition for training of a template that it knows, any other template as it is."""
    return source if is_marked(source) else _editions().get(source, source)


@lru_cache(1)
def _editions() -> dict[str, str]:
    """From the files that TRL reads, not by its function: importing that takes torch's ten seconds."""
    return {original.read_text("utf-8"): training.read_text("utf-8") for original, training in _pairs()}


def _pairs() -> Iterator[tuple[Path, Path]]:
    found = find_spec("trl")
    for folder in found.submodule_search_locations or () if found else ():
        for training in sorted(Path(folder, "chat_templates").glob(f"*{_TRAINING}.jinja")):
            original = training.with_name(training.name.replace(_TRAINING, ""))
            if original.exists():
                yield original, training
