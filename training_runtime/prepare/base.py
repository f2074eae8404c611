"""The model that training starts from, as a committed folder on the volume: downloaded, or new.

A new model gets here its tokenizer and configuration only; its weights are drawn from the plan's seed when training
starts.
"""

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runtime.committed import MANIFEST, committing, verified_digest
from training_runtime.errors import AccessError, PlanError
from training_runtime.plan import Plan
from training_runtime.sources import fetch
from training_runtime.unreachable import why
from training_runtime.workspace import base_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["fetch_base", "new_base"]

_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# ChatML, as Qwen's models read it; {% generation %} marks the answer for token-exact loss masks.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}"
    "{%- else %}{{ message.content + '<|im_end|>' }}{%- endif %}{{ '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}"
)
_DEFAULT_VOCABULARY_SIZE = 32000
_MAX_TEXTS = 100_000


def fetch_base(plan: Plan) -> None:
    """Bring a pretrained base onto the volume, unless it is there; raise AccessError where it cannot be had."""
    target = base_folder(plan)
    if verified_digest(target):
        return
    with committing(target) as draft:
        if plan.base.uri.startswith("mlflow-artifacts:/"):
            _download(plan, draft)
        else:
            fetch(plan.base.uri, draft, plan.base.credentials)
            (draft / MANIFEST).unlink(missing_ok=True)
        _check(plan, draft)


def _check(plan: Plan, folder: Path) -> None:
    adapter = folder / "adapter_config.json"
    if adapter.exists() and not (folder / "config.json").exists():
        base = json.loads(adapter.read_bytes()).get("base_model_name_or_path", "another base")
        raise PlanError(f"{plan.base.uri} is an adapter for {base}, not a model: name that base, or a merged model")
    for name, remedy in (("config.json", "a Transformers model"), ("tokenizer.json", "a model with a fast tokenizer")):
        if not (folder / name).exists():
            raise PlanError(f"{plan.base.uri} has no {name}: name the folder of {remedy} as base.uri")
    custom = sorted(path.name for path in folder.glob("*.py"))
    if custom and not plan.base.trust_remote_code:
        raise PlanError(f"{plan.base.uri} brings Python code ({custom[0]}): set base.trustRemoteCode to run it")
    if not any(folder.glob("*.safetensors")):
        raise PlanError(f"{plan.base.uri} has no weights in safetensors: pickled weights can run code, convert them")


def _download(plan: Plan, draft: Path) -> None:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        download_artifacts(artifact_uri=plan.base.uri, dst_path=str(draft), tracking_uri=plan.tracking.uri)
    except (MlflowException, OSError) as error:
        raise AccessError(
            f"{plan.base.uri} cannot be downloaded from MLflow at {plan.tracking.uri}: {why(error)}"
        ) from error
    nested = next(draft.rglob(MANIFEST), None)
    if nested is None or (plan.base.digest and verified_digest(nested.parent) != plan.base.digest):
        raise AccessError(f"{plan.base.uri} is incomplete or was changed after it was published")
    for path in list(nested.parent.iterdir()) if nested.parent != draft else []:
        path.rename(draft / path.name)


def new_base(plan: Plan, texts: Iterable[str]) -> None:
    """Make configuration and tokenizer of a new model, unless they are there; the tokenizer learns from the texts."""
    target = base_folder(plan)
    if verified_digest(target):
        return
    source = Path(plan.base.uri) / "config.json"
    try:
        config: dict[str, Any] = json.loads(source.read_bytes())
    except (OSError, ValueError) as error:
        raise PlanError(f"the model's ConfigMap needs the file config.json of a Transformers model: {error}") from error
    with committing(target) as draft:
        tokenizer = _new_tokenizer(texts, int(config.get("vocab_size", _DEFAULT_VOCABULARY_SIZE)))
        tokenizer.save_pretrained(draft)
        special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        (draft / "config.json").write_text(json.dumps({**config, **special, "vocab_size": len(tokenizer)}, indent=1))


def _new_tokenizer(texts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerBase":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(islice(texts, _MAX_TEXTS), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token=_PAD, eos_token=_END, chat_template=_CHAT_TEMPLATE, model_max_length=1 << 20
    )
