"""Twelve families of language models, each through all stages: labels, adapter, kill and resume, merge, evaluation.

Three of them here, all in `make soak`. That a server reads the same prompts is shown on the cluster, `tests/e2e`.
"""

import dataclasses
import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow.parquet import read_table
from safetensors import safe_open
from transformers.utils import chat_template_utils
from trl.chat_template_utils import get_training_chat_template
from typing_extensions import override

from prompts.canary import CANARY_FILE, Canary, first_difference
from prompts.clock import FIXED_DATE
from prompts.template import chat_template
from prompts.thinking import SWITCHES
from tests.support.families import FAMILIES, Family, family_chats
from training_runtime.architecture import check_adapter, empty_model
from training_runtime.errors import PlanError
from training_runtime.evaluate.asking import Asking
from training_runtime.evaluate.stage import evaluate
from training_runtime.plan import Evaluated, LoraPlan, Plan, Prepared
from training_runtime.prepare.stage import prepare
from training_runtime.prepare.tokens import IGNORED, Encoder
from training_runtime.prepared import part_files
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.tokenizer import end_ids, load_tokenizer
from training_runtime.workspace import (
    PARTS,
    adapter_folder,
    base_folder,
    evaluation_folder,
    history_file,
    model_folder,
)

from .conftest import plans_in
from .families import family_tokenizer, learnt
from .family_bases import make_base, own_template
from .forked import ended, start_training, starts

QUICK = ("qwen3-thinking", "llama-3", "gemma-3")
STEPS, SAVE, KILLED_AT = 20, 4, 11
LORA = {"rank": 4, "alpha": 16, "dropout": 0.0, "target_modules": ["all-linear"]}
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Finished:
    """A family's job with everything done but publishing."""

    family: Family
    plan: Plan
    prepared: Prepared
    exit_codes: list[int | None]
    log: Path
    evaluated: Evaluated

    @property
    def rows(self) -> list[Row]:
        """Every row that was prepared, of whichever part."""
        files = [file for part in PARTS for file in part_files(self.plan, part)]
        found = [row for file in files for row in read_table(file).to_pylist()]
        return [{**row, "messages": json.loads(row["messages"])} for row in found]


@pytest.fixture(
    scope="module", params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in FAMILIES]
)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    family, folder = FAMILIES[request.param], tmp_path_factory.mktemp(request.param)
    plan = _plan(family, make_base(family, folder / "own"), folder)
    prepared = prepare(plan)
    path = folder / "training.json"
    codes = [ended(start_training(plan, path, killed_at=KILLED_AT)), ended(start_training(plan, path))]
    assert codes[-1] == 0, path.with_suffix(".log").read_text()[-3000:]
    return Finished(family, plan, prepared, codes, path.with_suffix(".log"), evaluate(plan))


def _plan(family: Family, base: Path, folder: Path, **changes: Any) -> Plan:
    given: dict[str, Any] = {
        "base": {"initialize": "Pretrained", "uri": str(base), "trust_remote_code": bool(family.code)},
        "dataset__prompt": {"thinking": family.thinking, "system_prompt": family.system},
        "dataset__pii": {"action": "None"},
        "lora": LORA,
        "training__max_steps": STEPS,
        "training__max_sequence_length": 1024,
        "training__save_every_steps": SAVE,
        "evaluation__suites": [{"name": "answer", "type": "Text"}, {"name": "rows", "type": "Perplexity"}],
        "evaluation__max_new_tokens": 4,
    }
    return plans_in(folder)([{"messages": chat} for chat in family_chats(family)], **{**given, **changes})


def test_every_answer_and_its_end_mark_are_learnt_once(finished: Finished) -> None:
    """In one row for all answers of a chat or, where a template drops earlier thoughts, in one for each."""
    tokenizer, runs = prompted_tokenizer(finished.plan), list[str]()
    for row in finished.rows:
        said = [message for message in row["messages"] if message["role"] == "assistant"]
        taught = [_taught(finished.family, message, last=message is said[-1]) for message in said]
        found = learnt(tokenizer, row["labels"])
        assert found in (taught, taught[-1:]), row
        runs += found
    assert len(runs) == sum(
        message["role"] == "assistant" for chat in family_chats(finished.family) for message in chat
    )


def _taught(family: Family, message: dict[str, str], *, last: bool) -> str:
    form = family.taught if last else family.taught_before or family.taught
    return form.format(answer=message["content"], thought=message.get("reasoning_content", ""))


def test_the_tokens_are_those_that_trl_trains_on_or_that_were_counted(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    if finished.family.tokens:
        _compare_with_count(finished)
    else:
        monkeypatch.setattr(chat_template_utils, "datetime", _Clock)
        for row in finished.rows:
            _compare_with_trl(finished, row)


def _compare_with_count(finished: Finished) -> None:
    [row] = [row for row in finished.rows if row["messages"][-1]["content"] == "no"]
    table, tokenizer = finished.family.tokens, prompted_tokenizer(finished.plan)
    assert len(row["input_ids"]) == sum(count for _, count, _ in table)
    place = 0
    for text, count, taught in table:
        ids, labels = (row[name][place : place + count] for name in ("input_ids", "labels"))
        assert tokenizer.decode(ids) == text
        assert labels == (ids if taught else [IGNORED] * count), text
        place += count


class _Clock(datetime.datetime):
    """The day that every prompt of ours is written on."""

    @classmethod
    @override
    def now(cls, _: Any = None) -> "_Clock":
        return cls(FIXED_DATE.year, FIXED_DATE.month, FIXED_DATE.day)


def _compare_with_trl(finished: Finished, row: Row) -> None:
    """What TRL masks is never learnt; what it learns besides is told in the table, or is an answer of another row."""
    family, tokenizer = finished.family, load_tokenizer(base_folder(finished.plan))
    tokenizer.chat_template = own_template(family)
    known = tokenizer.apply_chat_template(
        [_as_trl_reads(family, message) for message in row["messages"]],
        chat_template=get_training_chat_template(tokenizer),
        return_dict=True,
        return_assistant_tokens_mask=True,
        **SWITCHES[family.thinking],
    )
    assert row["input_ids"] == known["input_ids"]
    mine = [label != IGNORED for label in row["labels"]]
    assert all(label in (token, IGNORED) for token, label in zip(row["input_ids"], row["labels"], strict=True))
    both = list(zip(row["input_ids"], mine, map(bool, known["assistant_masks"]), strict=True))
    assert not [token for token, own, theirs in both if own and not theirs]
    begins = mine.index(True)
    besides = learnt(tokenizer, [token if theirs and not own else IGNORED for token, own, theirs in both[begins:]])
    assert set(besides) <= family.masked_too


def _as_trl_reads(family: Family, message: dict[str, str]) -> dict[str, str]:
    thought = message.get("reasoning_content")
    if not (thought and family.thinks_within):
        return message
    return {"role": message["role"], "content": f"<think>\n{thought}\n</think>\n\n{message['content']}"}


def test_lora_finds_the_layers_that_the_family_has(finished: Finished) -> None:
    weights = adapter_folder(finished.plan) / "adapter_model.safetensors"
    config = json.loads((adapter_folder(finished.plan) / "adapter_config.json").read_bytes())
    with safe_open(weights, "pt") as file:
        names = [name.removesuffix(".lora_A.weight") for name in file.keys() if "lora_A" in name]  # noqa: SIM118
        trained = any(float(file.get_tensor(name).abs().max()) for name in file.keys() if "lora_B" in name)  # noqa: SIM118
    layers = [name.rpartition(".")[2] for name in names if not name.endswith((".experts", ".base_layer", ".gate"))]
    assert Counter(layers) == Counter(finished.family.adapted)
    assert set(config["target_parameters"] or ()) == set(finished.family.adapted_parameters)
    assert trained
    named = LoraPlan(rank=4, alpha=16, dropout=0.0, target_modules=sorted(finished.family.adapted))
    assert check_adapter(named, empty_model(finished.plan)) == []


def test_what_lora_does_not_reach_is_told(finished: Finished) -> None:
    told = finished.prepared.warnings
    assert len(told) == len(finished.family.unreached)
    assert all(part in warning for part, warning in zip(finished.family.unreached, told, strict=True))


def test_a_killed_training_goes_on_from_its_checkpoint_to_the_last_step(finished: Finished) -> None:
    assert finished.exit_codes == [-9, 0]
    began, resumed = starts(finished.log)
    assert began == 0
    assert resumed in {SAVE, 2 * SAVE}, "the last one may have been being written"
    history = json.loads(history_file(finished.plan).read_bytes())
    assert [entry["step"] for entry in history if "loss" in entry] == list(range(1, STEPS + 1))


def test_the_merged_model_is_the_base_with_the_adapter_under_the_base_s_names(finished: Finished) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, merged = base_folder(finished.plan), model_folder(finished.plan)
    with safe_open(base / "model.safetensors", "pt") as ours, safe_open(merged / "model.safetensors", "pt") as theirs:
        assert set(ours.keys()) == set(theirs.keys())
    settings = {"dtype": torch.float32, "trust_remote_code": finished.plan.base.trust_remote_code}
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, **settings), adapter_folder(finished.plan)
    )
    ids = torch.tensor([finished.rows[0]["input_ids"]])
    with torch.inference_mode():
        wanted = adapted.eval()(ids).logits
        found = AutoModelForCausalLM.from_pretrained(merged, **settings).eval()(ids).logits
    assert torch.allclose(found, wanted, atol=1e-3)


def test_the_merged_model_stops_at_the_end_mark_that_it_learnt(finished: Finished) -> None:
    tokenizer, last = prompted_tokenizer(finished.plan), finished.rows[0]
    end = [label for label in last["labels"] if label != IGNORED][-1]
    assert end in end_ids(model_folder(finished.plan), tokenizer)
    assert end in Asking(finished.plan).ends


def test_evaluation_asks_with_the_tokens_that_stood_before_the_answer(finished: Finished) -> None:
    asking = Asking(finished.plan)
    for row in finished.rows:
        asked = asking.question(row["messages"][:-1]).ids
        answer = [place for place, label in enumerate(row["labels"]) if label != IGNORED]
        begins = max(place for place in answer if place - 1 not in answer)
        assert row["input_ids"][: len(asked)] == asked
        assert len(asked) == begins
    assert {"answer/exact_match", "rows/perplexity"} <= finished.evaluated.metrics.keys()


def test_a_server_that_renders_by_the_model_s_own_folder_gives_the_tokens_that_training_gave(
    finished: Finished,
) -> None:
    """As vLLM does: by transformers, from the messages as a client sends them, with a thought before an answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder(finished.plan))
    asked = [(row["messages"][:-1], Asking(finished.plan).question(row["messages"][:-1]).ids) for row in finished.rows]
    file = evaluation_folder(finished.plan) / CANARY_FILE
    kept = Canary.model_validate_json(file.read_bytes()).questions if file.exists() else []
    assert kept or finished.family.thinking == "Keep", "a chat of several turns may be all that was drawn"
    for messages, ids in [*asked, *((one.messages, one.prompt_ids) for one in kept)]:
        sent = [_as_a_client_sends(finished.family, message) for message in messages]
        found = tokenizer.apply_chat_template(sent, add_generation_prompt=True, return_dict=False)
        assert first_difference(ids, found) is None, messages


def _as_a_client_sends(family: Family, message: dict[str, str]) -> dict[str, str]:
    thought = message.get("reasoning_content")
    return _as_trl_reads(family, {**message, "reasoning": thought} if thought else message)


def test_thoughts_of_exaone_4_are_learnt_where_they_are_kept() -> None:
    """Its template skips them unless it is told not to, by a name of its own, and drops those of earlier answers."""
    family = dataclasses.replace(FAMILIES["exaone-4"], thinking="Keep")
    source = own_template(family)
    tokenizer = family_tokenizer(source, bos=family.bos, eos=family.eos, special=family.special)
    tokenizer.chat_template = chat_template(source, "Keep")
    [found] = Encoder(tokenizer, 4096, answers_only=True).encode([family_chats(family)[0]])
    assert [learnt(tokenizer, one.labels) for one in found] == [
        ["it is\n</think>\n\nyes[|endofturn|]"],
        ["it is not\n</think>\n\nno[|endofturn|]"],
    ]


def test_packs_are_refused_where_the_model_cannot_keep_their_rows_apart(tmp_path: Path) -> None:
    """That of gpt-oss has sinks, so it is not SDPA's, and is not told where a row of a pack begins."""
    family = FAMILIES["gpt-oss"]
    plan = _plan(family, make_base(family, tmp_path / "own"), tmp_path, training__packing=True)
    with pytest.raises(PlanError, match=r"training\.packing: GptOssForCausalLM computes attention in a way of its own"):
        prepare(plan)


def test_dropout_that_experts_cannot_be_trained_with_is_refused_before_training(tmp_path: Path) -> None:
    family = FAMILIES["qwen3-moe"]
    plan = _plan(family, make_base(family, tmp_path / "own"), tmp_path, lora={**LORA, "dropout": 0.1})
    with pytest.raises(PlanError, match=r"experts cannot be trained so: set tuning\.lora\.dropout to 0"):
        prepare(plan)


def test_an_answer_that_begins_with_the_template_s_words_cannot_be_constrained(tmp_path: Path) -> None:
    family, suite = FAMILIES["gpt-oss"], {"name": "bound", "type": "JSON", "constrained": True}
    plan = _plan(family, make_base(family, tmp_path / "own"), tmp_path, evaluation__suites=[suite])
    with pytest.raises(PlanError, match=r"begins each answer with <\|channel\|>final<\|message\|>, which the schema"):
        prepare(plan)


def test_no_family_is_without_its_labels_checked_at_the_token() -> None:
    assert {name.partition("-thinking")[0] for name in FAMILIES} >= {"qwen3", "exaone-3.5", "exaone-4", "gpt-oss"}
    assert len(FAMILIES) == 13
    for name, family in FAMILIES.items():
        assert family.template.startswith("TRL: ") != bool(family.tokens), name
