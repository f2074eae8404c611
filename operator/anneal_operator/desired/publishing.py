"""The ModelVersion that a FineTuneJob ends as. It has no owner: it outlives its job."""

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.model_version import Artifact, ModelVersionProvenance, ModelVersionSpec
from anneal_operator.api.resources import GROUP, VERSION
from training_runtime.plan import Published

from .pods import Manifest, labels

__all__ = ["model_version"]


def model_version(parent: Manifest, spec: FineTuneJobSpec, published: Published, dataset_digest: str) -> Manifest:
    """The ModelVersion of a finished job; it has the job's name, so that manifests can name it beforehand."""
    metadata = parent["metadata"]
    made = ModelVersionSpec(
        model=spec.output.model_name,
        artifact=Artifact(uri=published.uri, format=published.format, digest=published.digest),
        aliases=spec.output.aliases,
        provenance=ModelVersionProvenance(
            fine_tune_job=metadata["name"],
            fine_tune_job_uid=metadata["uid"],
            mlflow_run_id=published.run_id,
            dataset_digest=dataset_digest,
        ),
        serving=spec.output.serving,
    )
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ModelVersion",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": labels("model-version", metadata["name"]),
        },
        "spec": made.dump(),
    }
