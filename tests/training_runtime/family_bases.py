"""The bases of `tests.support.families`, as folders that a user could name: `python -m … FOLDER [FAMILY …]`.

Called so, it writes beside each folder `FAMILY.json`: the prompt's token ids of `ASKED` as training has them. So the
tests on the cluster, which have none of these libraries, know what a server must read.
"""

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tests.support.families import ASKED, FAMILIES, Family
from training_runtime.plan import ColumnsPlan, PromptPlan
from training_runtime.prepare.prompt import training_edition
from training_runtime.rows.prompting import Prompting, template_of

from .families import family_tokenizer

__all__ = ["make_base", "own_template"]

_SEED = 7


def own_template(family: Family) -> str:
    """Return the chat template that the family's tokenizer brings."""
    source, _, name = family.template.partition(": ")
    folders = {"TRL": ("trl", "chat_templates"), "axolotl": ("axolotl", "utils/chat_templates/templates")}
    if source not in folders:
        return family.template
    package, folder = folders[source]
    found = find_spec(package)  # read, and not imported: axolotl's own needs are not installed
    assert found
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0], folder, f"{name}.jinja").read_text("utf-8")


def make_base(family: Family, folder: Path) -> Path:
    """Write a base: configuration, new weights in bf16, tokenizer, its template, and the code it brings."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    folder.mkdir(parents=True)
    tokenizer = _tokenizer(family)
    tokenizer.save_pretrained(folder)
    if family.code:
        shutil.copy(Path(__file__).parent / family.code, folder)
    stops = [tokenizer.convert_tokens_to_ids(stop) for stop in family.stops]
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": stops if len(stops) > 1 else stops[0],
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = {**family.config, **ids, "vocab_size": len(tokenizer), "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    set_seed(_SEED)
    trust = bool(family.code)
    made = AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    model = AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16, trust_remote_code=trust)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(ids))
    return folder


def _tokenizer(family: Family) -> PreTrainedTokenizerBase:
    from tokenizers.processors import TemplateProcessing

    template = own_template(family)
    made = family_tokenizer(template, bos=family.bos, eos=family.eos, special=(*family.special, *family.stops))
    made.add_special_tokens({"pad_token": "<|padding|>"})
    if family.begins_with_bos:
        begin = (family.bos, made.convert_tokens_to_ids(family.bos))
        made.backend_tokenizer.post_processor = TemplateProcessing(f"{family.bos} $A", special_tokens=[begin])
    return made


def _asked(family: Family, folder: Path) -> list[int]:
    from training_runtime.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    prompt = PromptPlan(thinking=family.thinking, system_prompt=family.system)
    edition = training_edition(own_template(family))
    tokenizer.chat_template = template_of(prompt, ColumnsPlan(), edition, tokenizer)
    text = Prompting(tokenizer).prompt(ASKED)
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for name in sys.argv[2:] or FAMILIES:
        make_base(FAMILIES[name], place / name)
        (place / f"{name}.json").write_text(json.dumps(_asked(FAMILIES[name], place / name)))
