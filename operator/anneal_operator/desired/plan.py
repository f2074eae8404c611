"""The plan that every stage of a FineTuneJob reads, from its spec."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from anneal_operator.api.evaluation import Evaluation
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.quantities import seconds
from anneal_operator.api.training import Guards, Tuning
from anneal_operator.api.training import Lora as LoraSpec
from training_runtime.plan import (
    BasePlan,
    CleanPlan,
    ColumnsPlan,
    DatasetPlan,
    DistributedPlan,
    EarlyStoppingPlan,
    EvaluationPlan,
    GuardsPlan,
    JobIdentity,
    LoraPlan,
    OutputPlan,
    PiiPlan,
    Plan,
    PromptPlan,
    QualityPlan,
    QuantizationPlan,
    ResponseDictionaryPlan,
    ResumePlan,
    SourcePlan,
    SplitPlan,
    SuitePlan,
    TrackingPlan,
    TrainingPlan,
)

from .inputs import checkpoints_source, credentials_folder, input_path
from .pods import Manifest

__all__ = ["PLAN_KEY", "WORKSPACE", "Base", "make_plan", "plan_digest"]

PLAN_KEY = "plan.json"
WORKSPACE = "/workspace"
_DEFAULT_BITS = 4


@dataclass(frozen=True)
class Base:
    """The exact model that training starts from, after names and aliases are resolved."""

    source: str
    revision: str
    digest: str | None = None


def make_plan(
    metadata: Manifest,
    spec: FineTuneJobSpec,
    base: Base,
    mlflow_url: str,
    image: str,
    engine_image: str,
    installation: str = "",
) -> Plan:
    """Return the plan of a job with this metadata."""
    return Plan(
        job=JobIdentity(name=metadata["name"], namespace=metadata["namespace"], uid=metadata["uid"]),
        workspace=Path(WORKSPACE),
        base=BasePlan(
            initialize=spec.base.initialize,
            uri=base.source,
            credentials=credentials_folder(spec.base.secret_ref),
            digest=base.digest,
            trust_remote_code=spec.base.trust_remote_code,
        ),
        dataset=_dataset(spec),
        lora=_lora(spec.tuning),
        quantization=_quantization(spec.tuning),
        training=_training(spec),
        distributed=DistributedPlan(
            strategy=spec.distributed.strategy,
            offload=spec.distributed.offload,
            deepspeed_config=spec.distributed.deepspeed_config,
            nodes=spec.stages.train.nodes,
            processes_per_node=spec.stages.train.processes_per_node,
        ),
        evaluation=_evaluation(spec.evaluation),
        tracking=TrackingPlan(
            uri=mlflow_url,
            experiment=spec.experiment_name,
            tags=spec.tracking.tags,
            installation=installation,
        ),
        output=OutputPlan(
            formats=spec.output.formats,
            license=spec.output.license,
            served_length=spec.output.serving.max_model_length if spec.output.serving else None,
            served_gpus=spec.output.serving.tensor_parallel if spec.output.serving else 1,
            canary=spec.output.canary,
        ),
        model_name=spec.output.model_name,
        image=image,
        engine_image=engine_image,
    )


def plan_digest(config_map: Manifest) -> str:
    """The plan's content address."""
    return f"sha256:{hashlib.sha256(config_map['data'][PLAN_KEY].encode()).hexdigest()}"


def _dataset(spec: FineTuneJobSpec) -> DatasetPlan:
    data = spec.dataset
    return DatasetPlan(
        sources=[
            SourcePlan(
                uri=input_path(source.uri), format=source.format, credentials=credentials_folder(source.secret_ref)
            )
            for source in data.sources
        ],
        template=data.template,
        columns=ColumnsPlan(**data.columns.model_dump()),
        prompt=PromptPlan(**spec.prompt.model_dump()),
        response_schema=data.response_schema,
        response_dictionary=(
            ResponseDictionaryPlan(**data.response_dictionary.model_dump()) if data.response_dictionary else None
        ),
        clean=CleanPlan(**data.clean.model_dump()),
        pii=PiiPlan(**data.pii.model_dump()),
        duplicate_threshold=data.deduplicate.threshold,
        quality=QualityPlan(**data.quality.model_dump()),
        split=SplitPlan(**data.split.model_dump()),
        max_truncated_percent=data.max_truncated_percent,
        max_rejected_percent=data.max_rejected_percent,
    )


def _lora(tuning: Tuning) -> LoraPlan | None:
    return None if tuning.method == "Full" else LoraPlan(**(tuning.lora or LoraSpec()).model_dump())


def _quantization(tuning: Tuning) -> QuantizationPlan | None:
    if tuning.method != "QLoRA":
        return None
    return QuantizationPlan(bits=tuning.quantization.bits if tuning.quantization else _DEFAULT_BITS)


def _training(spec: FineTuneJobSpec) -> TrainingPlan:
    training, checkpoints = spec.training, checkpoints_source(spec)
    stopping, wanted = training.early_stopping, training.resume_from
    resumed = (
        ResumePlan(checkpoints=Path(input_path(checkpoints)), step=wanted.step) if checkpoints and wanted else None
    )
    return TrainingPlan(
        **training.model_dump(exclude={"early_stopping", "guards", "resume_from"}),
        resume_from=resumed,
        early_stopping=EarlyStoppingPlan(**stopping.model_dump()) if stopping else None,
        guards=_guards(training.guards),
    )


def _guards(guards: Guards) -> GuardsPlan:
    spike = guards.loss_spike
    stalled_after = seconds(guards.stalled_after)
    if spike is None:
        return GuardsPlan(stalled_after_seconds=stalled_after)
    return GuardsPlan(stalled_after_seconds=stalled_after, spike_factor=spike.factor, spike_window=spike.window)


def _evaluation(evaluation: Evaluation) -> EvaluationPlan:
    suites = [
        SuitePlan(**suite.model_dump(exclude={"cases"}), path=input_path(suite.cases) if suite.cases else None)
        for suite in evaluation.suites
    ]
    return EvaluationPlan(
        suites=suites,
        max_rows=evaluation.max_rows,
        max_new_tokens=evaluation.max_new_tokens,
        compare_base=evaluation.compare_base,
        engine=evaluation.engine,
        gated=list(dict.fromkeys(gate.metric for gate in evaluation.gates)),
    )
