"""What the objects of a FineTuneJob are called, and the labels by which they are found again."""

from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from training_runtime.plan import Stage

__all__ = [
    "ATTEMPT_LABEL",
    "CA_KEY",
    "JOB_LABEL",
    "REVISION_ANNOTATION",
    "STAGE_LABEL",
    "claim_name",
    "own_claim_name",
    "plan_name",
    "progress_audience",
    "rendezvous_name",
    "stage_job_name",
]

JOB_LABEL = "anneal.dev/fine-tune-job"
STAGE_LABEL = "anneal.dev/stage"
ATTEMPT_LABEL = "anneal.dev/attempt"
REVISION_ANNOTATION = "anneal.dev/model-revision"
CA_KEY = "progress-ca.crt"
"""In the plan's ConfigMap: whom training trusts when it reports."""


def plan_name(job: str) -> str:
    """The plan's ConfigMap."""
    return f"{job}-plan"


def claim_name(job: str, spec: FineTuneJobSpec) -> str:
    """The volume claim on which the stages hand over."""
    return spec.storage.claim_name or own_claim_name(job)


def own_claim_name(job: str) -> str:
    """The claim that is made for a job, and goes with it."""
    return f"{job}-workspace"


def stage_job_name(job: str, stage: Stage, attempt: int = 0) -> str:
    """The Job of a stage; of training, the Job of an attempt."""
    return f"{job}-{stage}-{attempt}" if stage == "train" else f"{job}-{stage}"


def rendezvous_name(job: str) -> str:
    """The Service under which the pods of a training find each other."""
    return f"{job}-train"


def progress_audience(namespace: str, job: str, uid: str) -> str:
    """The audience of the token that reports progress: only for this job, and nothing the API server accepts."""
    return f"anneal-progress/{namespace}/{job}/{uid}"
