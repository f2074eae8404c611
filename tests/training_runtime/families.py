"""TRL's chat templates, one of each family, with a tiny tokenizer that has the family's special tokens; and
what labels teach, read back.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import trl
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from training_runtime.prepare.tokens import IGNORED

FOLDER = Path(trl.__file__).with_name("chat_templates")
ORIGINALS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.jinja")) if "_training" not in path.stem}
# They write what a list of parts holds, pictures among them, and nothing of a text.
OF_PARTS = ("idefics3", "llava_next", "smolvlm")
_SPECIAL = re.compile(
    r"<[|\uff5c][^<>'\"\s{}]{1,40}[|\uff5c]>|<(?:start|end)_of_turn>|<\|?turn\|?>|<\|?channel\|?>|<\|?tool_\w+\|?>"
)
_PLAIN = ("<think>", "</think>", "<tool_call>", "</tool_call>")


def family_tokenizer(
    template: str, *, bos: str = "<s>", eos: str = "</s>", special: Collection[str] = ()
) -> PreTrainedTokenizerFast:
    """A token for each byte and for each special token that the template names, or that is told beside it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    named = sorted({*_SPECIAL.findall(template), *special} - set(_PLAIN))
    made = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        bos_token=bos or None,
        eos_token=eos,
        extra_special_tokens=named,
        chat_template=template,
    )
    made.add_tokens([AddedToken(text, special=False) for text in _PLAIN])
    return made


def learnt(tokenizer: Any, labels: list[int]) -> list[str]:
    """The runs of labels that are learnt, each decoded."""
    runs: list[list[int]] = []
    before = IGNORED
    for label in labels:
        if label != IGNORED:
            runs = [*runs, []] if before == IGNORED else runs
            runs[-1].append(label)
        before = label
    return [tokenizer.decode(run) for run in runs]
