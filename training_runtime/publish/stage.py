"""The publish stage: one MLflow run and one model version per job, with parameters, curves, reports and weights.

Both are found again by the job's uid, so however often the stage is killed there is one of each. What is published is a
folder of safetensors with a model card and a manifest of every file's SHA-256: the finished model, and the adapter
where one was trained, or one of them alone where the plan asks for that. Aliases are the operator's part.
"""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompts.canary import CANARY_FILE
from training_runtime.committed import MANIFEST, committing, facts_of, verified_digest
from training_runtime.errors import AccessError, DataError, PlanError
from training_runtime.plan import DIGEST_TAG, JOB_UID_TAG, ArtifactFormat, Plan, Published
from training_runtime.prepared import dataset_facts, verified_dataset
from training_runtime.tracking import Spool, job_run
from training_runtime.unreachable import why
from training_runtime.workspace import (
    METRICS,
    REPORT,
    adapter_folder,
    base_folder,
    evaluation_folder,
    model_folder,
    published_folder,
    results_file,
    tensorboard_folder,
)

from .card import model_card

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["publish"]

_DONE_TAG = "anneal.dev/published"
_ADAPTER_CONFIG = "adapter_config.json"
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def publish(plan: Plan) -> Published:
    """Publish, or hand back what was published; raise AccessError where MLflow cannot be reached."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if verified_digest(model_folder(plan)) is None:
        raise DataError("there is no finished model on the volume: run the train stage first")
    folders = _folders(plan)
    name = "model" if "model" in folders else "adapter"
    try:
        client = MlflowClient(plan.tracking.uri)
        run = job_run(client, plan)
        if _DONE_TAG not in run.data.tags:
            _log(client, run, plan)
            for folder in folders:
                client.log_artifacts(run.info.run_id, str(published_folder(plan, folder)), folder)
            client.set_tag(run.info.run_id, _DONE_TAG, folders[name])
            client.set_terminated(run.info.run_id)
        version = _registered(client, run, plan, name, folders[name])
    except MlflowException as error:
        raise AccessError(
            f"MLflow at {plan.tracking.uri} did not take the run ({why(error)}): publishing again goes on from here"
        ) from error
    told = _base_of(plan) if name == "adapter" else {}
    return Published(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        uri=f"{run.info.artifact_uri}/{name}",
        digest=folders[name],
        bytes=_size(published_folder(plan, name)),
        format=_format(plan, name),
        version=str(version.version),
        **told,
    )


def _base_of(plan: Plan) -> dict[str, Any]:
    """What an adapter was trained on, where a server can fetch that, too, and knows that it is the same."""
    if not plan.base.digest or not plan.base.uri.startswith("mlflow-artifacts:/"):
        return {}
    size = sum(path.stat().st_size for path in base_folder(plan).rglob("*") if path.is_file())
    return {"base_uri": plan.base.uri, "base_digest": plan.base.digest, "base_bytes": size or None}


def _format(plan: Plan, name: str) -> ArtifactFormat:
    if name == "adapter":
        return "Adapter"
    return "Merged" if plan.lora else "Full"


def _folders(plan: Plan) -> dict[str, str]:
    """Make each folder that is published, unless it is there; return the digest of each."""
    wanted = plan.output.formats or ["Merged", "Adapter"]
    made = {"model": model_folder(plan)} if "Merged" in wanted or not plan.lora else {}
    if plan.lora and "Adapter" in wanted:
        made["adapter"] = adapter_folder(plan)
    for name, source in made.items():
        if not verified_digest(published_folder(plan, name)):
            with committing(published_folder(plan, name)) as draft:
                # Links cost no room; what is written anew must not be one, or the original would change with it.
                ours = shutil.ignore_patterns(MANIFEST, "README.md", _ADAPTER_CONFIG, CANARY_FILE)
                shutil.copytree(source, draft, dirs_exist_ok=True, copy_function=os.link, ignore=ours)
                _name_base(plan, source, draft)
                _describe(plan, draft)
                _give_canary(plan, draft)
                _state(draft, _trained_on(plan, source))
    return {name: verified_digest(published_folder(plan, name)) or "" for name in made}


def _name_base(plan: Plan, source: Path, draft: Path) -> None:
    """Have an adapter say which model it is for, where training left the folder that this was in on its volume."""
    if not (source / _ADAPTER_CONFIG).exists():
        return
    config = json.loads((source / _ADAPTER_CONFIG).read_bytes())
    name, _, revision = plan.base.uri.removeprefix("hf://").partition("@")
    told = (name, revision or None) if plan.base.uri.startswith("hf://") else (plan.base.uri, None)
    config |= dict(zip(("base_model_name_or_path", "revision"), told, strict=True))
    (draft / _ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))


def _describe(plan: Plan, folder: Path) -> None:
    pickled = [path.name for path in folder.rglob("*") if path.suffix in _PICKLED]
    if pickled:
        raise PlanError(
            f"{pickled[0]} is pickled, which can run code when it is loaded: only safetensors are published"
        )
    card = model_card(plan, dataset_facts(plan), _results(plan), _evaluation(plan))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _give_canary(plan: Plan, folder: Path) -> None:
    """Lay beside the weights what a server is held to: under their digest, where evaluation left any."""
    kept = evaluation_folder(plan) / CANARY_FILE
    if kept.exists():
        shutil.copy(kept, folder)


def _trained_on(plan: Plan, source: Path) -> dict[str, Any]:
    """Of an adapter, its base, so that the adapter's digest vouches for it, too."""
    if not plan.base.digest or not (source / _ADAPTER_CONFIG).exists():
        return {}
    return {"base": {"uri": plan.base.uri, "digest": plan.base.digest}}


def _state(folder: Path, facts: dict[str, Any]) -> None:
    """Have the manifest say this, and how large each file is: who downloads them all knows how much that is."""
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    (folder / MANIFEST).write_text(json.dumps({**facts, "bytes": sizes}))


def _size(folder: Path) -> int | None:
    """Return how large a published folder is; an earlier build's does not say."""
    sizes = facts_of(folder).get("bytes")
    return sum(sizes.values()) if sizes else None


def _results(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(results_file(plan).read_bytes())
    return found


def _evaluation(plan: Plan) -> dict[str, Any]:
    path = evaluation_folder(plan) / METRICS
    if not path.exists():
        raise DataError("there is no evaluation on the volume: run the evaluate stage first")
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _log(client: "MlflowClient", run: "Run", plan: Plan) -> None:
    from mlflow.entities import Dataset, DatasetInput, Metric

    run_id, numbers = run.info.run_id, dataset_facts(plan)["numbers"]
    Spool(plan).replay(client, run_id)
    results = _results(plan)
    step, now = int(results["steps"]), int(results_file(plan).stat().st_mtime * 1000)
    evaluation = _evaluation(plan)
    measured = {**evaluation["metrics"], **{f"base/{name}": value for name, value in evaluation["base"].items()}}
    client.log_batch(run_id, metrics=[Metric(name, value, now, step) for name, value in measured.items()])
    source = json.dumps({"sources": [source.uri for source in plan.dataset.sources]})
    data = Dataset(name=plan.job.name, digest=numbers["digest"][-36:], source_type="anneal", source=source)
    client.log_inputs(run_id, datasets=[DatasetInput(data)])
    client.log_artifact(run_id, str(verified_dataset(plan) / REPORT), "data")
    client.log_artifacts(run_id, str(evaluation_folder(plan)), "evaluation")
    client.log_artifact(run_id, str(results_file(plan)))
    client.log_artifacts(run_id, str(tensorboard_folder(plan)), "tensorboard")


def _registered(client: "MlflowClient", run: "Run", plan: Plan, name: str, digest: str) -> "ModelVersion":
    """The model version made from the job's run: found, or registered."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(plan.model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.search_model_versions(f"name = '{plan.model_name}' and run_id = '{run.info.run_id}'", max_results=1)
    if found:
        return found[0]
    numbers = dataset_facts(plan)["numbers"]
    lineage = {
        JOB_UID_TAG: plan.job.uid,
        DIGEST_TAG: digest,
        "anneal.dev/dataset-digest": numbers["digest"],
        "anneal.dev/base": plan.base.uri,
    }
    made: ModelVersion = client.create_model_version(
        plan.model_name,
        f"{run.info.artifact_uri}/{name}",
        run_id=run.info.run_id,
        tags={**plan.tracking.tags, **lineage},
    )
    return made
