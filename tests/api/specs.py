"""Specs that must be accepted, and specs that must be refused for one named reason; both judges get the same table."""

import copy
from dataclasses import dataclass
from typing import Any

from anneal_operator.api.resources import CUSTOM_RESOURCES
from anneal_operator.api.schema import Schema

__all__ = ["CASES", "GOOD", "MODELS", "Case"]

Json = dict[str, Any]
MODELS: dict[str, type[Schema]] = {resource.kind: resource.spec for resource in CUSTOM_RESOURCES}
GOOD: dict[str, Json] = {
    "FineTuneJob": {
        "model": {"source": "models:/spam-filter@base"},
        "dataset": {"source": "configmap://data/rows.jsonl", "template": "messages"},
        "output": {"modelName": "spam-filter"},
    },
    "ModelVersion": {
        "model": "spam-filter",
        "artifact": {
            "uri": "mlflow-artifacts:/1/0123/artifacts/model",
            "format": "merged",
            "digest": "sha256:" + "0123456789abcdef" * 4,
        },
    },
    "ABExperiment": {
        "model": "spam-filter",
        "control": "stable",
        "variants": [
            {"name": "stable", "modelVersion": "base", "weight": 50},
            {"name": "tuned", "modelVersion": "tuned", "weight": 50},
        ],
        "metrics": {"primary": {"name": "user_rating"}},
    },
}


@dataclass(frozen=True)
class Case:
    """A spec, and either None or a part of the server's message."""

    name: str
    kind: str
    spec: Json
    refused: str | None = None

    @property
    def model(self) -> type[Schema]:
        """The spec's model."""
        return MODELS[self.kind]

    @property
    def field(self) -> str:
        """The last field that the case's name mentions."""
        return self.name.rpartition(".")[2].partition(":")[0].partition("[")[0].lower()


def _set(spec: Json, path: str, value: Any) -> Json:
    """Return a copy with one field changed; a value of ... removes it."""
    changed = copy.deepcopy(spec)
    *parents, last = path.split(".")
    target: Any = changed
    for part in parents:
        target = target[int(part)] if part.isdigit() else target.setdefault(part, {})
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return changed


def _case(kind: str, path: str, value: Any, refused: str | None = None) -> Case:
    shown = repr(value) if value is not ... else "missing"
    name = f"{kind}.{path}:{shown if len(shown) < 40 else shown[:37] + '...'}"
    return Case(name, kind, _set(GOOD[kind], path, value), refused)


_RANDOM = {"source": "configmap://tiny", "initialize": "Random"}


def _random(method: str, refused: str | None = None) -> Case:
    spec = {**GOOD["FineTuneJob"], "model": _RANDOM, "tuning": {"method": method}}
    return Case(f"FineTuneJob.tuning.method: new weights with {method}", "FineTuneJob", spec, refused)


_PATTERN, _ENUM, _REQUIRED = "should match", "Unsupported value", "Required value"
_LOW, _HIGH, _LONG = "should be greater than or equal to", "should be less than or equal to", "Too long"
CASES = [
    *(Case(f"{kind}: the least", kind, spec) for kind, spec in GOOD.items()),
    # FineTuneJob
    _random("full"),
    _random("lora", "new weights must all be trained: `initialize: Random` needs `tuning.method: full`"),
    _case("FineTuneJob", "model.source", "models:/Spam.Filter_2@production"),
    _case("FineTuneJob", "model.source", "hf://Qwen/Qwen3-8B", _PATTERN),
    _case("FineTuneJob", "model.source", "models:/spam-filter", _PATTERN),
    _case("FineTuneJob", "model.source", "configmap://tiny", "a configmap:// source holds no weights"),
    _case("FineTuneJob", "model.source", ..., _REQUIRED),
    _case("FineTuneJob", "model.initialize", "Random", "a configmap:// source holds no weights"),
    _case("FineTuneJob", "model.initialize", "Zero", _ENUM),
    _case("FineTuneJob", "model", ..., _REQUIRED),
    _case("FineTuneJob", "dataset.source", "configmap://data", _PATTERN),
    _case("FineTuneJob", "dataset.source", "configmap://data/../secret", _PATTERN),
    _case("FineTuneJob", "dataset.source", "s3://bucket/rows.jsonl", _PATTERN),
    _case("FineTuneJob", "dataset.template", "instruction-io"),
    _case("FineTuneJob", "dataset.template", "alpaca", _ENUM),
    _case("FineTuneJob", "dataset.template", ..., _REQUIRED),
    _case("FineTuneJob", "dataset.pii.action", "Report"),
    _case("FineTuneJob", "dataset.pii.action", "mask", _ENUM),
    _case("FineTuneJob", "dataset.deduplicate.threshold", 0.5),
    _case("FineTuneJob", "dataset.deduplicate.threshold", 1),
    _case("FineTuneJob", "dataset.deduplicate.threshold", 0.49, _LOW),
    _case("FineTuneJob", "dataset.deduplicate.threshold", 1.01, _HIGH),
    _case("FineTuneJob", "dataset.deduplicate.threshold", "0.9", "must be of type number"),
    _case("FineTuneJob", "dataset.split", {"validation": 0.5, "test": 0.3}),
    _case("FineTuneJob", "dataset.split", {"validation": 0.5, "test": 0.31}, "must leave at least 20 %"),
    _case("FineTuneJob", "dataset.split.test", 0, _LOW),
    _case("FineTuneJob", "dataset.split.stratifyBy", "output.action"),
    _case("FineTuneJob", "dataset.split.stratifyBy", "output..action", _PATTERN),
    _case("FineTuneJob", "dataset.split.seed", -1, _LOW),
    _case("FineTuneJob", "tuning.method", "qlora", _ENUM),
    _case("FineTuneJob", "tuning", {"method": "full", "lora": {"rank": 8}}, "`lora` settings are only read with"),
    _case("FineTuneJob", "tuning.lora", {"rank": 64, "alpha": 16, "dropout": 0.1, "targetModules": ["q_proj"]}),
    _case("FineTuneJob", "tuning.lora.rank", 0, _LOW),
    _case("FineTuneJob", "tuning.lora.rank", 513, _HIGH),
    _case("FineTuneJob", "tuning.lora.rank", 8.5, "must be of type integer"),
    _case("FineTuneJob", "tuning.lora.targetModules", [], "should have at least 1 items"),
    _case("FineTuneJob", "tuning.lora.targetModules", ["x"] * 33, "Too many"),
    _case("FineTuneJob", "tuning.lora.targetModules", "all-linear", "must be of type array"),
    _case("FineTuneJob", "training.epochs", 3),
    _case("FineTuneJob", "training.maxSteps", 100),
    _case("FineTuneJob", "training", {"epochs": 3, "maxSteps": 100}, "give either `epochs` or `maxSteps`, not both"),
    _case("FineTuneJob", "training.epochs", True, "must be of type integer"),
    _case("FineTuneJob", "training.learningRate", 1),
    _case("FineTuneJob", "training.learningRate", 0, _LOW),
    _case("FineTuneJob", "training.learningRate", 1.5, _HIGH),
    _case("FineTuneJob", "training.maxSequenceLength", 8, _LOW),
    _case("FineTuneJob", "training.maxSteps", 10**30, _HIGH),
    _case("FineTuneJob", "resources.cpu", "500m"),
    _case("FineTuneJob", "resources.cpu", 2, "must be of type string"),
    _case("FineTuneJob", "resources.memory", "lots", _PATTERN),
    _case("FineTuneJob", "storage.template", {"storageClassName": "fast", "size": "1Ti"}),
    _case("FineTuneJob", "storage.template.size", "-1Gi", _PATTERN),
    _case("FineTuneJob", "evaluation.suites", [{"name": "json"}, {"name": "classification", "labelField": "a.b"}]),
    _case("FineTuneJob", "evaluation.suites", [{"name": "classification"}], "`classification` needs `labelField`"),
    _case(
        "FineTuneJob", "evaluation.suites", [{"name": "json", "labelField": "a"}], "`classification` needs `labelField`"
    ),
    _case("FineTuneJob", "evaluation.suites", [{}], _REQUIRED),
    _case("FineTuneJob", "evaluation.suites", [{"name": "json"}] * 9, "Too many"),
    _case("FineTuneJob", "output.modelName", "-spam", _PATTERN),
    _case("FineTuneJob", "output.modelName", "a" * 64, _LONG),
    _case("FineTuneJob", "output.modelName", "스팸", _PATTERN),
    _case("FineTuneJob", "output.modelName", "spam\u0000filter", _PATTERN),
    _case("FineTuneJob", "output.aliases", ["base", "candidate"]),
    _case("FineTuneJob", "output.aliases", ["Base"], _PATTERN),
    _case("FineTuneJob", "output.aliases", ["latest"], "MLflow keeps `latest` and aliases like `v3` to itself"),
    _case("ModelVersion", "aliases", ["v12"], "MLflow keeps `latest` and aliases like `v3` to itself"),
    _case("ModelVersion", "aliases", ["v12b", "latest-good"]),
    _case("FineTuneJob", "output.serving", {}),
    _case("FineTuneJob", "output.serving.replicas", 101, _HIGH),
    _case("FineTuneJob", "output.serving.dtype", "int8", _ENUM),
    _case("FineTuneJob", "output.serving.engineArgs", ["--enforce-eager", ""], "should be at least 1 chars long"),
    # ModelVersion
    _case("ModelVersion", "artifact.uri", "pvc://claim/path", _PATTERN),
    _case("ModelVersion", "artifact.uri", "mlflow-artifacts:/1/a b", _PATTERN),
    _case("ModelVersion", "artifact.digest", "sha256:0", _PATTERN),
    _case("ModelVersion", "artifact.format", "adapter", _ENUM),
    _case("ModelVersion", "artifact", ..., _REQUIRED),
    _case("ModelVersion", "serving", {"maxModelLength": 4096}),
    _case("ModelVersion", "serving.maxModelLength", 63, _LOW),
    _case("ModelVersion", "provenance", {"fineTuneJob": "job"}, _REQUIRED),
    # ABExperiment
    _case("ABExperiment", "control", "nobody", "`control` must be the name of exactly one variant"),
    _case("ABExperiment", "variants.1.name", "stable", "`control` must be the name of exactly one variant"),
    _case("ABExperiment", "variants.1.modelVersion", "base", "each variant needs a ModelVersion of its own"),
    _case("ABExperiment", "variants.1.weight", 0, _LOW),
    _case("ABExperiment", "variants.1.weight", ..., _REQUIRED),
    _case("ABExperiment", "variants", GOOD["ABExperiment"]["variants"][:1], "should have at least 2 items"),
    _case("ABExperiment", "assignment.keyFrom", [{"header": "X-Session"}, {"header": "X-User-Id"}]),
    _case("ABExperiment", "assignment.keyFrom", [{"header": "X User"}], _PATTERN),
    _case("ABExperiment", "assignment.salt", "", "should be at least 1 chars long"),
    _case("ABExperiment", "metrics.primary.source", "Latency", _ENUM),
    _case("ABExperiment", "metrics.primary.name", "User Rating", _PATTERN),
    _case("ABExperiment", "stopping.minDuration", "24h"),
    _case("ABExperiment", "stopping.minDuration", "1 day", _PATTERN),
    _case("ABExperiment", "stopping.confidence", 1.0, _HIGH),
    _case("ABExperiment", "decision.scaleDownDelaySeconds", 86401, _HIGH),
    _case("ABExperiment", "decision.mode", "Recommend", _ENUM),
]
