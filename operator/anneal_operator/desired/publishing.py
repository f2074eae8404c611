"""What a FineTuneJob ends as: a ModelVersion, and the experiment it enters. Without an owner, they outlive the job."""

from anneal_operator.api.ab_experiment import ABExperimentSpec, Variant
from anneal_operator.api.artifact import Artifact, ArtifactBase
from anneal_operator.api.fine_tune_job import ExperimentTemplate, FineTuneJobSpec
from anneal_operator.api.model_version import ModelVersionProvenance, ModelVersionSpec
from anneal_operator.api.prompt import RequestClean, VersionPrompt
from anneal_operator.api.resources import GROUP, VERSION
from anneal_operator.api.schema import LocalReference
from training_runtime.plan import Published

from .pods import Manifest, labels

__all__ = ["experiment", "model_version"]


def model_version(parent: Manifest, spec: FineTuneJobSpec, published: Published, dataset_digest: str) -> Manifest:
    """The ModelVersion of a finished job; it has the job's name, so that manifests can name it beforehand."""
    metadata = parent["metadata"]
    made = ModelVersionSpec(
        model_name=spec.output.model_name,
        artifact=Artifact(
            uri=published.uri,
            format=published.format,
            digest=published.digest,
            bytes=published.bytes,
            base=_base(published),
        ),
        aliases=spec.output.aliases,
        prompt=_prompt(spec),
        provenance=ModelVersionProvenance(
            fine_tune_job_ref=LocalReference(name=metadata["name"]),
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


def _prompt(spec: FineTuneJobSpec) -> VersionPrompt:
    """How rows were written, cleaned and held to their answers' form."""
    data = spec.dataset
    clean = RequestClean(remove_pattern=data.clean.remove_pattern, collapse_whitespace=data.clean.collapse_whitespace)
    return VersionPrompt(
        **dict(spec.prompt),
        clean=clean if clean != RequestClean() else None,
        response_schema=data.response_schema,
        response_dictionary=data.response_dictionary,
    )


def _base(published: Published) -> ArtifactBase | None:
    if not published.base_digest:
        return None
    return ArtifactBase(uri=published.base_uri, digest=published.base_digest, bytes=published.base_bytes)


def experiment(parent: Manifest, spec: FineTuneJobSpec, template: ExperimentTemplate, control: str) -> Manifest:
    """The ABExperiment of a finished job's version beside another ModelVersion, the control."""
    metadata, share = parent["metadata"], template.candidate_percent
    made = ABExperimentSpec(
        model_name=spec.output.model_name,
        control="production",
        variants=[
            Variant(name="production", model_version_ref=LocalReference(name=control), weight=100 - share),
            Variant(name="candidate", model_version_ref=LocalReference(name=metadata["name"]), weight=share),
        ],
        assignment=template.assignment,
        metrics=template.metrics,
        stopping=template.stopping,
        decision=template.decision,
    )
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ABExperiment",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": labels("ab-experiment", metadata["name"]),
        },
        "spec": made.dump(),
    }
