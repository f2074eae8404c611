"""Publishing to a real MLflow on PostgreSQL: one run, one version, safetensors with their digests, a card."""

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import mlflow.artifacts
import pytest
from mlflow import MlflowClient

from prompts.canary import CANARY_FILE, Canary
from serving_runtime.weights.cache import bring
from serving_runtime.weights.progress import Progress
from serving_runtime.weights.ranges import Ranges
from serving_runtime.weights.sources import source_of
from training_runtime.committed import MANIFEST, committing, facts_of, verified_digest
from training_runtime.errors import AccessError, DataError, PlanError
from training_runtime.evaluate.stage import evaluate
from training_runtime.plan import Plan, TrackingPlan
from training_runtime.publish.stage import publish
from training_runtime.tracking import job_run
from training_runtime.train.stage import train
from training_runtime.workspace import base_folder, evaluation_folder, model_folder, published_folder

from .conftest import MakePlan, MlflowServer, Prepare, plans_in, signals_given_back

LORA = {"rank": 8, "alpha": 64, "dropout": 0.0, "target_modules": ["all-linear"]}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, base: Path, prepare: Prepare) -> Plan:
    """A plan with everything done but publishing, its metrics still on the spool."""
    plan = plans_in(tmp_path_factory.mktemp("evaluated"))(
        base={"initialize": "Pretrained", "uri": str(base)},
        lora=LORA,
        evaluation__suites=[{"name": "answer", "type": "JSON"}, {"name": "rows", "type": "Perplexity"}],
        output={"license": "apache-2.0"},
    )
    prepare(plan)
    with signals_given_back():
        train(plan)
    evaluate(plan)
    return plan


@pytest.fixture
def trained(evaluated: Plan, tmp_path: Path, mlflow_server: MlflowServer) -> Plan:
    """A job of this test's own that has come as far."""
    shutil.copytree(evaluated.workspace, tmp_path / "workspace")
    return evaluated.model_copy(
        update={
            "job": evaluated.job.model_copy(update={"uid": tmp_path.name}),
            "workspace": tmp_path / "workspace",
            "tracking": TrackingPlan(uri=mlflow_server.url, experiment="publish"),
        }
    )


def test_publishing_twice_makes_one_run_and_one_version(trained: Plan, tmp_path: Path) -> None:
    client = MlflowClient(trained.tracking.uri)
    begun = job_run(client, trained)  # as training leaves it
    first = publish(trained)
    assert first.run_id == begun.info.run_id
    assert publish(trained) == first
    versions = client.search_model_versions(f"name = 'tests' and run_id = '{first.run_id}'")
    assert [str(version.version) for version in versions] == [first.version]
    version = client.get_model_version("tests", first.version)
    assert version.source == first.uri
    assert version.tags["anneal.dev/digest"] == first.digest
    assert version.tags["anneal.dev/job-uid"] == trained.job.uid
    assert version.tags["anneal.dev/dataset-digest"].startswith("sha256:")
    run = client.get_run(first.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["method"] == "LoRA", "noted when training began, and sent at last"
    assert run.data.params["rank"] == "8"
    assert run.data.metrics.keys() >= {"loss", "rows/perplexity", "base/rows/perplexity", "answer/json_validity"}
    assert run.inputs
    assert [data.dataset.name for data in run.inputs.dataset_inputs] == ["job"]
    assert {file.path for file in client.list_artifacts(first.run_id)} == {
        "adapter",
        "data",
        "evaluation",
        "model",
        "tensorboard",
        "train_results.json",
    }
    events = [file.path for file in client.list_artifacts(first.run_id, "tensorboard")]
    assert events
    assert all(path.startswith("tensorboard/events.out.tfevents.") for path in events)
    fetched = Path(
        mlflow.artifacts.download_artifacts(
            artifact_uri=first.uri, dst_path=str(tmp_path), tracking_uri=trained.tracking.uri
        )
    )
    assert verified_digest(fetched) == first.digest


def test_a_server_brings_what_was_published_and_knows_beforehand_how_much_that_is(
    trained: Plan, tmp_path: Path
) -> None:
    """From a real MLflow, though it is the serving runtime that reads."""
    published = publish(trained)
    source = source_of(published.uri, trained.tracking.uri, {}, lambda: datetime.now(UTC))
    ranges, manifest = Ranges(source), published_folder(trained, "model") / MANIFEST
    assert ranges.whole(MANIFEST) == manifest.read_bytes()
    assert published.bytes == sum(json.loads(manifest.read_bytes())["bytes"].values())
    whole = (published_folder(trained, "model") / "model.safetensors").read_bytes()
    assert b"".join(ranges.parts("model.safetensors", 1000, len(whole))) == whole[1000:]
    progress = Progress()
    found = bring(source, published.uri, published.digest, tmp_path / "cache", progress)
    assert verified_digest(found) == published.digest
    assert (progress.told().bytes, progress.told().total_bytes) == (published.bytes, published.bytes)


def test_every_format_is_safetensors_and_loads_again(trained: Plan) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    publish(trained)
    for name in ("model", "adapter"):
        folder = published_folder(trained, name)
        assert verified_digest(folder)
        assert list(folder.glob("*.safetensors"))
        assert not [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    merged = AutoModelForCausalLM.from_pretrained(published_folder(trained, "model"))
    adapted = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(trained.workspace / "base"), published_folder(trained, "adapter")
    )
    ids = merged.dummy_inputs["input_ids"]
    assert (merged(ids).logits - adapted(ids).logits).abs().max() < 1e-3


def test_an_adapter_alone_is_all_that_is_uploaded_where_nothing_else_is_asked_for(trained: Plan) -> None:
    """The model with the adapter merged in is evaluated all the same, and stays on the volume."""
    client = MlflowClient(trained.tracking.uri)
    plan = trained.model_copy(update={"output": trained.output.model_copy(update={"formats": ["Adapter"]})})
    published = publish(plan)
    assert "model" not in {file.path for file in client.list_artifacts(published.run_id)}
    assert published.format == "Adapter"
    assert published.uri.endswith("/adapter")
    assert published.digest == verified_digest(published_folder(plan, "adapter"))
    assert client.get_model_version("tests", published.version).source == published.uri
    assert publish(plan) == published


def test_questions_of_the_evaluation_lie_under_the_digest_of_the_weights(trained: Plan) -> None:
    asked = (evaluation_folder(trained) / CANARY_FILE).read_bytes()
    assert len(Canary.model_validate_json(asked).questions) == 3
    publish(trained)
    for name in ("model", "adapter"):
        listed = json.loads((published_folder(trained, name) / "manifest.json").read_bytes())["files"]
        assert listed[CANARY_FILE] == hashlib.sha256(asked).hexdigest()


def test_questions_of_another_version_are_not_published(trained: Plan) -> None:
    """A base may have been published by a job, too."""
    for folder, change in (
        (model_folder(trained), lambda kept: kept.write_text("another version's")),
        (evaluation_folder(trained), Path.unlink),
    ):
        with committing(folder) as draft:
            shutil.copytree(folder, draft, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
            change(draft / CANARY_FILE)
    publish(trained)
    assert not (published_folder(trained, "model") / CANARY_FILE).exists()


@pytest.mark.parametrize(
    ("uri", "name", "revision"),
    [
        ("hf://team/model@v2", "team/model", "v2"),
        ("hf://team/model", "team/model", None),
        ("s3://b/m", "s3://b/m", None),
    ],
)
def test_a_published_adapter_names_its_base_and_not_a_folder_that_is_gone(
    trained: Plan, uri: str, name: str, revision: str | None
) -> None:
    plan = trained.model_copy(update={"base": trained.base.model_copy(update={"uri": uri})})
    publish(plan)
    config = json.loads((published_folder(plan, "adapter") / "adapter_config.json").read_bytes())
    assert (config["base_model_name_or_path"], config["revision"]) == (name, revision)


@pytest.mark.parametrize(
    ("uri", "digest", "told"),
    [
        ("mlflow-artifacts:/1/base/artifacts/model", "sha256:" + "a" * 64, True),
        ("mlflow-artifacts:/1/base/artifacts/model", None, False),
        ("s3://b/m", "sha256:" + "a" * 64, False),
    ],
)
def test_a_base_that_mlflow_holds_is_told_so_that_the_adapter_can_be_served_on_it(
    trained: Plan, uri: str, digest: str | None, told: bool
) -> None:
    base = trained.base.model_copy(update={"uri": uri, "digest": digest})
    output = trained.output.model_copy(update={"formats": ["Adapter"]})
    plan = trained.model_copy(update={"base": base, "output": output})
    published = publish(plan)
    assert (published.base_uri, published.base_digest) == ((uri, digest) if told else ("", ""))
    facts = facts_of(published_folder(plan, "adapter"))
    sizes = facts.pop("bytes")
    assert MANIFEST not in sizes
    assert facts == ({"base": {"uri": uri, "digest": digest}} if digest else {})
    size = sum(path.stat().st_size for path in base_folder(plan).rglob("*") if path.is_file())
    assert published.base_bytes == (size if told else None)


def test_the_card_tells_where_the_model_comes_from(trained: Plan) -> None:
    publish(trained)
    card = (published_folder(trained, "model") / "README.md").read_text()
    digest = json.loads((trained.workspace / "train_results.json").read_bytes())["dataset"]
    for text in (
        'license: "apache-2.0"',
        digest,
        trained.base.uri,
        "answer/json_validity",
        "| method | LoRA |",
        " 8 rows) |",
        "The base on the same rows",
    ):
        assert text in card


def test_pickled_weights_are_not_published(trained: Plan) -> None:
    (trained.workspace / "adapter/extra.pt").write_bytes(b"pickle")
    with committing(trained.workspace / "model") as draft:
        (draft / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(PlanError, match=r"pytorch_model\.bin is pickled"):
        publish(trained)


def test_a_server_that_is_away_is_told(trained: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    away = trained.model_copy(update={"tracking": trained.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})})
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(AccessError, match=r"MLflow at http://127\.0\.0\.1:9 did not take"):
        publish(away)


def test_nothing_to_publish_is_told(make_plan: MakePlan) -> None:
    with pytest.raises(DataError, match="run the train stage first"):
        publish(make_plan())
