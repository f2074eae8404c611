"""The publish stage: one MLflow run per job, with its parameters, curves, metrics, reports and weights.

The run is found again by the job's uid, so however often the stage is killed there is one. Registering the result as
a version of the model is the operator's part.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from training_runtime.committed import verified_digest
from training_runtime.errors import AccessError, DataError
from training_runtime.evaluate.stage import evaluation_folder
from training_runtime.plan import Evaluated, Plan, Prepared, Published
from training_runtime.prepare.stage import data_folder
from training_runtime.train.stage import adapter_folder, history_file, model_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["publish"]

_UID_TAG = "anneal.dev/job-uid"
_DONE_TAG = "anneal.dev/published"


def publish(plan: Plan) -> Published:
    """Publish, or hand back what was published; raise AccessError where MLflow cannot be reached."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    digest = verified_digest(model_folder(plan))
    if digest is None:
        raise DataError("there is no finished model on the volume: run the train stage first")
    try:
        client = MlflowClient(plan.tracking.uri)
        run = _run(client, plan)
        if _DONE_TAG not in run.data.tags:
            _log_numbers(client, run.info.run_id, plan)
            _upload(client, run.info.run_id, plan)
            client.set_tag(run.info.run_id, _DONE_TAG, digest)
            client.set_terminated(run.info.run_id)
    except MlflowException as error:
        raise AccessError(f"MLflow at {plan.tracking.uri} did not take the run: {error.message}") from error
    return Published(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        uri=f"{run.info.artifact_uri}/model",
        digest=digest,
        format="merged" if plan.lora else "full",
    )


def _run(client: "MlflowClient", plan: Plan) -> "Run":
    """Find the job's run, or make it."""
    experiment = client.get_experiment_by_name(plan.tracking.experiment)
    identifier = experiment.experiment_id if experiment else client.create_experiment(plan.tracking.experiment)
    found = client.search_runs([identifier], f"tags.`{_UID_TAG}` = '{plan.job.uid}'", max_results=1)
    if found:
        return found[0]
    tags = {_UID_TAG: plan.job.uid, "anneal.dev/job": f"{plan.job.namespace}/{plan.job.name}"}
    return client.create_run(identifier, run_name=plan.job.name, tags=tags)


def _log_numbers(client: "MlflowClient", run_id: str, plan: Plan) -> None:
    from mlflow.entities import Metric, Param

    prepared = Prepared.model_validate_json((data_folder(plan) / "prepared.json").read_bytes())
    settings = {**plan.training.model_dump(), **(plan.lora.model_dump() if plan.lora else {})}
    settings |= {
        "method": "lora" if plan.lora else "full",
        "base": plan.model.source,
        "dataset_digest": prepared.digest,
    }
    params = [Param(name, str(value)) for name, value in settings.items() if value is not None]
    history: list[dict[str, float]] = json.loads(history_file(plan).read_bytes())
    finished = int(history_file(plan).stat().st_mtime * 1000)
    metrics = [
        Metric(name, value, finished, int(entry["step"]))
        for entry in history
        for name, value in entry.items()
        if name != "step"
    ]
    measured = Evaluated.model_validate_json((evaluation_folder(plan) / "metrics.json").read_bytes()).metrics
    metrics += [Metric(name, value, finished, int(history[-1]["step"])) for name, value in measured.items()]
    client.log_batch(run_id, params=params)
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def _upload(client: "MlflowClient", run_id: str, plan: Plan) -> None:
    client.log_artifact(run_id, str(data_folder(plan) / "report.html"), "data")
    client.log_artifacts(run_id, str(evaluation_folder(plan)), "evaluation")
    folders: dict[str, Path] = {"model": model_folder(plan)}
    if plan.lora:
        folders["adapter"] = adapter_folder(plan)
    for name, folder in folders.items():
        client.log_artifacts(run_id, str(folder), name)
