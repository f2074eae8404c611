"""An adapter's folder on an engine's own disk: brought once, verified, and judged before the engine hears of it.

A folder is called by its digest and kept while the pod lives: the engine reads an adapter again that it had put aside,
and one whose folder is gone would end it. What is judged here is what the engine would refuse in words that name
nothing of ours, or not at all: it compares neither bases nor prompts.
"""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from prompts.canary import CANARY_FILE, Canary

from .plan import ServingPlan, WantedAdapter, WantedAdapters
from .weights.cache import bring
from .weights.progress import Progress
from .weights.published import MANIFEST
from .weights.sources import source_of

__all__ = ["PLACES_VARIABLE", "AdapterError", "Fetch", "Places", "brought", "check", "joined", "wanted_in"]

PLACES_VARIABLE = "ANNEAL_ADAPTERS"
"""In the engine's environment: Places, as JSON, for what runs within its server."""

Fetch = Callable[[ServingPlan, WantedAdapter, Path], Path]
"""Brings an adapter into a folder of such, under its digest."""
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TEMPLATE, _TOKENIZER = "chat_template.jinja", "tokenizer.json"
_OF_PROMPTS = (_TEMPLATE, _TOKENIZER, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Where an adapter brings these, its training changed them, and the base's own are not what it was trained with."""
_OF_TOKENS = ("added_tokens", "model", "normalizer", "pre_tokenizer", "post_processor")
"""What of a tokenizer decides about tokens: how it pads and cuts is the caller's matter."""
_ALTERS_BASE = ("pissa", "olora", "corda", "loftq")
"""Ways to begin that leave another base than the published one."""


class Places(BaseModel):
    """Where an engine of several versions has what."""

    plan: ServingPlan
    wanted: Path
    """The mounted file that says which versions it is to have."""
    home: Path
    """Where adapters lie, each in a folder called by its digest."""
    served: Path
    """The folder that the engine was started on."""


class AdapterError(Exception):
    """This adapter cannot be served by this engine."""


def wanted_in(file: Path) -> dict[str, WantedAdapter]:
    """Return what a mounted file asks for; raise OSError or ValueError where it cannot be read."""
    return WantedAdapters.model_validate_json(file.read_bytes()).adapters


def brought(plan: ServingPlan, wanted: WantedAdapter, home: Path) -> Path:
    """Return the adapter's folder, which is there and whole from now on; raise WeightsError where it cannot be had."""
    source = source_of(wanted.uri, plan.tracking_uri, {}, lambda: datetime.now(UTC))
    return bring(source, wanted.uri, wanted.digest, home, Progress())


def check(folder: Path, plan: ServingPlan, served: Path | None = None) -> None:
    """Raise AdapterError where it does not fit the base, the limits, or the prompt that the engine is asked with.

    `served` is the engine's own folder; without it, this adapter's prompt is to be the engine's.
    """
    config = _object(folder / _CONFIG)
    trained_on = _base_of(folder)
    if trained_on and trained_on != plan.digest:
        raise AdapterError(
            f"it was trained on a base of digest {trained_on}, and this engine's has {plan.digest}: name in "
            "`artifact.base` the one it was trained on"
        )
    if not (folder / _WEIGHTS).is_file():
        raise AdapterError(f"the artifact has no {_WEIGHTS}: publish the adapter in safetensors")
    _check_kind(config)
    _check_canary(folder)
    if plan.adapters:
        _check_rank(config, plan.adapters.max_rank)
    if served is not None:
        _check_prompt(folder, served)


def _check_kind(config: dict[str, Any]) -> None:
    begins = str(config.get("init_lora_weights", "")).lower()
    unserved = {
        "is no LoRA": config.get("peft_type", "LORA") != "LORA",
        "is a DoRA": config.get("use_dora"),
        "changes biases": config.get("bias", "none") != "none" or config.get("lora_bias"),
        "holds whole layers (`modules_to_save`)": config.get("modules_to_save"),
        f"began from another base (`{begins}`)": begins.startswith(_ALTERS_BASE),
        "begins at words of a prompt (aLoRA)": config.get("alora_invocation_tokens"),
        "repeats layers": config.get("layer_replication"),
    }
    if found := [what for what, is_so in unserved.items() if is_so]:
        raise AdapterError(
            f"the adapter {found[0]}, which the engine cannot load beside others: publish it merged "
            "(`output.formats: [Merged]`) and serve that"
        )


def _check_canary(folder: Path) -> None:
    file = folder / CANARY_FILE
    try:
        if file.exists():
            Canary.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise AdapterError(
            f"{CANARY_FILE} beside it is not what a FineTuneJob publishes: leave that name to it ({error})"
        ) from error


def _check_rank(config: dict[str, Any], most: int) -> None:
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    highest = max((rank for rank in ranks if isinstance(rank, int)), default=0)
    if highest > most:
        raise AdapterError(
            f"the adapter's rank is {highest}, and `serving.adapters.maxRank` is {most}: raise it, which gives this "
            "version an engine with the others that have the same"
        )


def _check_prompt(folder: Path, served: Path) -> None:
    if (folder / _TEMPLATE).exists() and _text(folder / _TEMPLATE) != _text(served / _TEMPLATE):
        raise AdapterError(
            "its chat template is not the one that this engine asks with, though `prompt` says the same: serve it "
            "merged, or train it again with the release that trained the others"
        )
    if (folder / _TOKENIZER).exists() and _tokens(folder) != _tokens(served):
        raise AdapterError(
            "its tokenizer is not the one that this engine asks with: serve it merged, as a model of its own"
        )


def joined(base: Path, adapter: Path, target: Path) -> Path:
    """Make a folder of links: the base's weights, asked as the adapter was trained. Nothing is copied or changed."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source in sorted(base.rglob("*")):
        if source.is_file():
            link = target / source.relative_to(base)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(source)
    for name in _OF_PROMPTS:
        if (adapter / name).is_file():
            (target / name).unlink(missing_ok=True)
            (target / name).symlink_to(adapter / name)
    return target


def _base_of(folder: Path) -> str:
    """The digest of the base that its manifest names; empty where it names none, as of an adapter from elsewhere."""
    told = _object(folder / MANIFEST).get("base")
    return str(told.get("digest") or "") if isinstance(told, dict) else ""


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise AdapterError(f"the artifact's {file.name} cannot be read ({error}): publish it again") from error
    if not isinstance(found, dict):
        raise AdapterError(f"the artifact's {file.name} is no JSON object: publish it again")
    return found


def _tokens(folder: Path) -> dict[str, Any]:
    if not (folder / _TOKENIZER).exists():
        return {}
    found = _object(folder / _TOKENIZER)
    return {part: found.get(part) for part in _OF_TOKENS}


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""
