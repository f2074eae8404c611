"""An adapter is brought whole, and judged before the engine hears of it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.adapter_folder import AdapterError, brought, check, joined, wanted_in
from serving_runtime.plan import AdapterLimits, ServingPlan, WantedAdapter, weights_folder
from serving_runtime.weights.published import WeightsError
from tests.support.http_server import playing

from .published import URI, Files, FileServer

BASE = "sha256:" + "b" * 64
PLAN = ServingPlan(
    tracking_uri="http://mlflow:5000",
    uri="mlflow-artifacts:/1/base/artifacts/model",
    digest=BASE,
    served_name="shared-base-0",
    dtype="Auto",
    max_model_length=64,
    engine_args=[],
    adapters=AdapterLimits(max_rank=16, at_once=2),
)
TOKENIZER: dict[str, Any] = {"model": {"vocab": {"a": 0}}, "added_tokens": [], "padding": None}


def published(
    folder: Path, config: dict[str, Any] | None = None, base: str = BASE, files: dict[str, str] | None = None
) -> str:
    """Make an adapter's folder as it is published; return its digest."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"adapter_config.json": json.dumps({"r": 8, "peft_type": "LORA"} | (config or {}))}
    given |= {"adapter_model.safetensors": "weights", "chat_template.jinja": "{{ messages }}"}
    given |= {"tokenizer.json": json.dumps(TOKENIZER)} | (files or {})
    for name, text in given.items():
        (folder / name).write_text(text)
    listed = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in given.items()}
    facts = {"base": {"uri": PLAN.uri, "digest": base}} if base else {}
    manifest = json.dumps({**facts, "files": listed}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def served(folder: Path, template: str = "{{ messages }}", tokenizer: dict[str, Any] | None = None) -> Path:
    """The folder that an engine was started on."""
    folder.mkdir()
    (folder / "chat_template.jinja").write_text(template)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer or TOKENIZER))
    return folder


def test_what_fits_is_served(tmp_path: Path) -> None:
    published(tmp_path / "adapter", {"rank_pattern": {"q_proj": 16}, "init_lora_weights": True, "bias": "none"})
    check(tmp_path / "adapter", PLAN)
    check(tmp_path / "adapter", PLAN, served(tmp_path / "served", tokenizer=TOKENIZER | {"padding": {"length": 8}}))


def test_one_from_elsewhere_that_names_no_base_is_served(tmp_path: Path) -> None:
    published(tmp_path / "adapter", base="")
    check(tmp_path / "adapter", PLAN)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"r": 17}, "the adapter's rank is 17, and `serving.adapters.maxRank` is 16: raise it"),
        ({"rank_pattern": {"q_proj": 32}}, "the adapter's rank is 32"),
        ({"peft_type": "IA3"}, "the adapter is no LoRA"),
        ({"use_dora": True}, "the adapter is a DoRA"),
        ({"bias": "all"}, "the adapter changes biases"),
        ({"lora_bias": True}, "the adapter changes biases"),
        ({"modules_to_save": ["lm_head"]}, "the adapter holds whole layers"),
        ({"init_lora_weights": "pissa_niter_4"}, "the adapter began from another base (`pissa_niter_4`)"),
        ({"alora_invocation_tokens": [1]}, "the adapter begins at words of a prompt"),
        ({"layer_replication": [[0, 2]]}, "the adapter repeats layers"),
    ],
)
def test_what_the_engine_cannot_load_is_told_by_the_field(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    published(tmp_path / "adapter", config)
    with pytest.raises(AdapterError) as raised:
        check(tmp_path / "adapter", PLAN)
    assert told in str(raised.value)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    published(tmp_path / "adapter", base="sha256:" + "c" * 64)
    with pytest.raises(AdapterError, match=r"trained on a base of digest sha256:ccc.*name in `artifact\.base`"):
        check(tmp_path / "adapter", PLAN)


def test_one_that_is_asked_in_other_words_or_tokens_is_refused(tmp_path: Path) -> None:
    published(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="its chat template is not the one"):
        check(tmp_path / "adapter", PLAN, served(tmp_path / "words", template="other"))
    with pytest.raises(AdapterError, match="its tokenizer is not the one"):
        check(tmp_path / "adapter", PLAN, served(tmp_path / "tokens", tokenizer=TOKENIZER | {"added_tokens": [1]}))


@pytest.mark.parametrize(
    ("name", "content"), [("adapter_config.json", None), ("adapter_config.json", "[]"), ("manifest.json", "{")]
)
def test_what_cannot_be_read_is_told(tmp_path: Path, name: str, content: str | None) -> None:
    published(tmp_path / "adapter")
    (tmp_path / "adapter" / name).unlink()
    if content:
        (tmp_path / "adapter" / name).write_text(content)
    with pytest.raises(AdapterError, match=name.replace(".", r"\.")):
        check(tmp_path / "adapter", PLAN)


def test_questions_that_are_none_are_told(tmp_path: Path) -> None:
    published(tmp_path / "adapter", files={"canary.json": "{}"})
    with pytest.raises(AdapterError, match=r"canary\.json beside it is not what a FineTuneJob publishes"):
        check(tmp_path / "adapter", PLAN)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    published(tmp_path / "adapter")
    (tmp_path / "adapter/adapter_model.safetensors").rename(tmp_path / "adapter/adapter_model.bin")
    with pytest.raises(AdapterError, match="publish the adapter in safetensors"):
        check(tmp_path / "adapter", PLAN)


def test_it_is_brought_once_and_again_where_it_was_changed(tmp_path: Path) -> None:
    digest = published(tmp_path / "www")
    with playing(Files(tmp_path / "www"), FileServer) as files:
        plan = PLAN.model_copy(update={"tracking_uri": f"http://127.0.0.1:{files.port}"})
        wanted = WantedAdapter(uri=URI, digest=digest)
        found = brought(plan, wanted, tmp_path / "home")
        assert found == tmp_path / "home" / weights_folder(digest)
        asked = files.asked.copy()
        assert brought(plan, wanted, tmp_path / "home") == found
        assert files.asked == asked
        (found / "adapter_model.safetensors").write_text("others")
        brought(plan, wanted, tmp_path / "home")
        assert (found / "adapter_model.safetensors").read_text() == "weights"
        with pytest.raises(WeightsError, match="published was sha256:0"):
            brought(plan, WantedAdapter(uri=URI, digest="sha256:0"), tmp_path / "home")


def test_the_base_is_asked_as_its_adapters_were_trained_and_stays_as_it_is(tmp_path: Path) -> None:
    base = served(tmp_path / "base", template="of the base")
    (base / "sub").mkdir()
    (base / "sub/model.safetensors").write_text("weights")
    published(tmp_path / "adapter")
    made = joined(base, tmp_path / "adapter", tmp_path / "served")
    assert (made / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (made / "sub/model.safetensors").read_text() == "weights"
    assert not (made / "adapter_config.json").exists(), "or the engine would take it for an adapter"
    assert (base / "chat_template.jinja").read_text() == "of the base"
    assert joined(base, tmp_path / "adapter", tmp_path / "served") == made, "as after a restart"


def test_what_is_wanted_is_read_or_told(tmp_path: Path) -> None:
    file = tmp_path / "adapters.json"
    with pytest.raises(OSError, match=r"adapters\.json"):
        wanted_in(file)
    file.write_text('{"adapters": {"one": {"uri": "u", "digest": "d"}}}')
    assert wanted_in(file) == {"one": WantedAdapter(uri="u", digest="d")}
    file.write_text('{"adapters": {"one": {"uri": "u", "digest": "d", "of_a_later_release": 1}}, "so_is_this": 2}')
    assert wanted_in(file) == {"one": WantedAdapter(uri="u", digest="d")}
    file.write_text("{}")
    with pytest.raises(ValueError, match="adapters"):
        wanted_in(file)
