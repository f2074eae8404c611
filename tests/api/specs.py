"""Specs that must be accepted, and specs that must be refused for one named reason; both judges get the same table."""

import copy
from dataclasses import dataclass
from typing import Any, get_args

from anneal_operator.api.resources import CUSTOM_RESOURCES
from anneal_operator.api.schema import Schema
from tests.impossible import IMPOSSIBLE
from training_runtime.plan import Entity

__all__ = ["CASES", "GOOD", "MODELS", "Case"]

Json = dict[str, Any]
MODELS: dict[str, type[Schema]] = {resource.kind: resource.spec for resource in CUSTOM_RESOURCES}
GOOD: dict[str, Json] = {
    "FineTuneJob": {
        "base": {"uri": "models:/spam-filter@base"},
        "dataset": {"sources": [{"uri": "configmap://data/rows.jsonl"}], "template": "Messages"},
        "output": {"modelName": "spam-filter"},
    },
    "ModelVersion": {
        "modelName": "spam-filter",
        "artifact": {
            "uri": "mlflow-artifacts:/1/0123/artifacts/model",
            "format": "Merged",
            "digest": "sha256:" + "0123456789abcdef" * 4,
        },
    },
    "ABExperiment": {
        "modelName": "spam-filter",
        "control": "stable",
        "variants": [
            {"name": "stable", "modelVersionRef": {"name": "base"}, "weight": 50},
            {"name": "tuned", "modelVersionRef": {"name": "tuned"}, "weight": 50},
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


def _variant(number: int) -> Json:
    return {"name": f"v{number}", "modelVersionRef": {"name": f"v{number}"}, "weight": 50}


def _among(mode: str, refused: str | None = None, **assignment: Any) -> Case:
    name = f"ABExperiment.decision.mode: {mode} with {assignment}"
    spec = {**GOOD["ABExperiment"], "assignment": assignment, "decision": {"mode": mode}}
    return Case(name, "ABExperiment", spec, refused)


_TWICE = [{**variant, "modelVersionRef": {"name": "base"}} for variant in GOOD["ABExperiment"]["variants"]]


def _of_equals(decision: Json, refused: str | None = None, **changes: Any) -> Case:
    name = f"ABExperiment.decision: type AA, {decision}, {', '.join(changes)}"
    return Case(name, "ABExperiment", {**GOOD["ABExperiment"], "type": "AA", "decision": decision, **changes}, refused)


def _shadow(refused: str | None = None, **changes: Any) -> Case:
    spec = {name: value for name, value in GOOD["ABExperiment"].items() if name != "metrics"}
    spec |= {"type": "Shadow", "decision": {"mode": "Observe"}, **changes}
    return Case(f"ABExperiment of type Shadow with {changes}", "ABExperiment", spec, refused)


def _gated(gate: Json) -> Json:
    return {"suites": [{"name": "action", "type": "Classification"}], "gates": [gate]}


_RANDOM = {"uri": "configmap://tiny", "initialize": "Random"}


def _random(method: str, refused: str | None = None) -> Case:
    spec = {**GOOD["FineTuneJob"], "base": _RANDOM, "tuning": {"method": method}}
    return Case(f"FineTuneJob.tuning.method: new weights with {method}", "FineTuneJob", spec, refused)


_SCHEMA = {"type": "object", "required": ["action"]}


def _constrained(
    kind: str, engine: str | None, refused: str | None = None, *, schema: bool = True, **prompt: str
) -> Case:
    suites = [{"name": "s", "type": kind, "constrained": True}, {"name": "free", "type": "JSON"}]
    evaluation = {"suites": suites} | ({"engine": engine} if engine else {})
    spec = _set(_set(GOOD["FineTuneJob"], "evaluation", evaluation), "prompt", prompt)
    spec = _set(spec, "dataset.responseSchema", _SCHEMA) if schema else spec
    name = f"FineTuneJob.evaluation.suites: constrained {kind} by {engine}, schema {schema}, prompt {prompt}"
    return Case(name, "FineTuneJob", spec, refused)


def _dictionary(columns: list[str], refused: str | None = None, **rule: Any) -> Case:
    whole = {"field": "categories", "levels": ["large", "small"], "context": "category_dict", **rule}
    spec = _set(GOOD["FineTuneJob"], "dataset.responseDictionary", whole)
    spec = _set(_set(spec, "dataset.columns", {"context": columns}), "prompt", {"text": "{input} {category_dict}"})
    return Case(f"FineTuneJob.dataset.responseDictionary: {rule} of {columns}", "FineTuneJob", spec, refused)


def _early_stopping_without_validation() -> Case:
    spec = _set(_set(GOOD["FineTuneJob"], "dataset.split.validation", 0), "training.earlyStopping", {})
    refused = "`training.earlyStopping` watches validation rows"
    return Case("FineTuneJob.training.earlyStopping: no validation rows", "FineTuneJob", spec, refused)


def _nodes(count: int, storage: Json, refused: str | None = None) -> Case:
    spec = {**GOOD["FineTuneJob"], "stages": {"train": {"nodes": count}}, "storage": storage}
    return Case(f"FineTuneJob.stages.train.nodes: {count} with storage {storage}", "FineTuneJob", spec, refused)


def _full_with_formats(formats: list[str], refused: str | None = None) -> Case:
    spec = _set(_set(GOOD["FineTuneJob"], "tuning", {"method": "Full"}), "output.formats", formats)
    return Case(f"FineTuneJob.output.formats: {formats} of all weights", "FineTuneJob", spec, refused)


def _impossible() -> list[Case]:
    """What preparation refuses is accepted here: nobody knows the base or the rows yet."""
    return [
        Case(f"FineTuneJob: {row.wish}", "FineTuneJob", row.spec, row.told if row.by == "apply" else None)
        for row in IMPOSSIBLE
    ]


def _served_adapters() -> list[Case]:
    adapter = _set(GOOD["ModelVersion"], "artifact.format", "Adapter")
    on_base = _set(adapter, "artifact.base", {key: adapter["artifact"][key] for key in ("uri", "digest")})
    of_s3 = _set(on_base, "artifact.uri", "s3://models/spam")
    shared = {"sharing": "SharedBase"}

    def case(said: str, spec: Json, refused: str | None = None) -> Case:
        return Case(f"ModelVersion: {said}", "ModelVersion", spec, refused)

    return [
        case("an adapter alone", _set(adapter, "serving", {}), "an adapter alone cannot be served"),
        case("an adapter on a base, alone", _set(on_base, "serving", {}), "an adapter alone cannot be served"),
        case("an adapter on no base", _set(adapter, "serving", shared), "serves an adapter on its base: name that in"),
        case(
            "a base of a whole model", _set(on_base, "artifact.format", "Merged"), "is what an adapter was trained on"
        ),
        case("a whole model on no base", _set(GOOD["ModelVersion"], "serving", shared), "or leave `sharing` out for a"),
        case("an adapter on a base", _set(on_base, "serving", shared)),
        case("an adapter on a base, not served", on_base),
        case("limits", _set(on_base, "serving", shared | {"adapters": {"maxRank": 128, "atOnce": 8}})),
        case("a rank between", _set(on_base, "serving", shared | {"adapters": {"maxRank": 100}}), _ENUM),
        case("none at once", _set(on_base, "serving", shared | {"adapters": {"atOnce": 0}}), _LOW),
        case(
            "limits of pods of its own", _set(GOOD["ModelVersion"], "serving", {"adapters": {}}), "set `sharing: Shar"
        ),
        case("an adapter elsewhere", _set(of_s3, "serving", shared), "set `artifact.uri` to one that begins with"),
        case("an adapter elsewhere, not served", of_s3),
        case(
            "scaling", _set(on_base, "serving", shared | {"autoscaling": {"maxReplicas": 2}}), "set `replicas`, or le"
        ),
        case("a cache", _set(on_base, "serving", shared | {"cache": {"claimName": "models"}})),
        case("a way up", _set(on_base, "artifact.base.uri", "mlflow-artifacts:/1/../2"), "leave `..`, `.` and"),
        case("the size of a base", _set(on_base, "artifact.base.bytes", 1_000_000)),
        case("no size of a base", _set(on_base, "artifact.base.bytes", 0), _LOW),
        case("a digest of no base", _set(on_base, "artifact.base.digest", "sha256:0"), _PATTERN),
        case("a base elsewhere", _set(on_base, "artifact.base.uri", "pvc://claim/base"), _PATTERN),
    ]


def _shared_jobs() -> list[Case]:
    def case(said: str, refused: str | None = None, **changed: Any) -> Case:
        output = {**_OUTPUT, "formats": ["Adapter"], "serving": {"sharing": "SharedBase"}}
        spec = _set(_set(GOOD["FineTuneJob"], "output", output), "base", {"uri": "models:/spam-filter@base"})
        for path, value in changed.items():
            spec = _set(spec, path.replace("__", "."), value)
        return Case(f"FineTuneJob: {said}", "FineTuneJob", spec, refused)

    return [
        case("an adapter beside others"),
        case("a whole model beside others", "set `formats: [Adapter]`", output__formats=["Adapter", "Merged"]),
        case("an adapter in no format", "set `formats: [Adapter]`", output__formats=[]),
        case("a base that MLflow does not hold", "which MLflow has to hold", base={"uri": "hf://Qwen/Qwen3-8B"}),
        case("a rank too high", "is higher than the adapters that the engine takes", tuning__lora={"rank": 65}),
        case("the highest rank", tuning__lora={"rank": 64}),
        case("a raised rank", tuning__lora={"rank": 65}, output__serving__adapters={"maxRank": 128}),
        case("a lowered limit", "than the adapters that the engine", output__serving__adapters={"maxRank": 8}),
    ]


def _version_of(uri: str, refused: str | None = None, **artifact: Json) -> Case:
    spec = _set(GOOD["ModelVersion"], "artifact", {**GOOD["ModelVersion"]["artifact"], "uri": uri, **artifact})
    return Case(f"ModelVersion.artifact of {uri} with {artifact}", "ModelVersion", spec, refused)


_SERVICE: Json = {"name": "vllm", "port": 8000}
_SECRET: Json = {"secretKeyRef": {"name": "hosted", "key": "token"}}
_HOSTED: Json = {"url": "https://api.example.com/v1", "apiKey": _SECRET, "model": "large-2"}


def _backend(backend: Json, refused: str | None = None, **fields: Json) -> Case:
    spec = {"modelName": "spam-filter", "backend": backend, **fields}
    return Case(f"ModelVersion.backend {backend} with {sorted(fields)}", "ModelVersion", spec, refused)


def _backends() -> list[Case]:
    """Servers of users' own."""
    artifact = GOOD["ModelVersion"]["artifact"]
    taken = ("http://vllm.other.svc.cluster.local:8000/v1", "http://10.0.0.7:65535", "https://a/openai/v1.1")
    own = ("http://localhost:8082", "http://127.0.0.1/v1", "http://169.254.169.254/latest", "http://2130706433/v1")
    misspelt = (
        "https://user:secret@a/v1",
        "https://a/v1?key=secret",
        "https://a/v1/",
        "https://A/v1",
        "https://a:65536",
        "https://[::1]/v1",
        "ftp://a",
        "https://a/v1 b",
    )
    of_weights = "is of weights, and a `backend` is run by somebody else"
    return [
        _backend({"serviceRef": _SERVICE}),
        _backend({"serviceRef": {**_SERVICE, "path": "/openai/v1"}, "apiKey": _SECRET}),
        _backend({"serviceRef": {**_SERVICE, "path": ""}}),
        _backend(_HOSTED),
        *(_backend({"url": url}) for url in taken),
        *(_backend({"url": url}, "`url` leads to the router's own pod or to its node") for url in own),
        *(_backend({"url": url}, _PATTERN) for url in misspelt),
        _backend({"url": "https://10.0.0.7/v1"}, "is verified by its host's name"),
        _backend({"url": "https://a/v1/../admin"}, "`url` leads elsewhere: leave `..` and `.` out"),
        _backend({"serviceRef": {**_SERVICE, "path": "/v1/.."}}, "`path` leads elsewhere"),
        _backend({"serviceRef": {**_SERVICE, "path": "v1"}}, _PATTERN),
        _backend({"serviceRef": {**_SERVICE, "port": 0}}, _LOW),
        _backend({"serviceRef": {**_SERVICE, "name": "vllm.other"}}, _PATTERN),
        _backend({"serviceRef": {**_SERVICE, "name": "anneal-router"}}, "is the routers' own"),
        _backend({}, "set either `serviceRef` or `url`"),
        _backend({**_HOSTED, "serviceRef": _SERVICE}, "set either `serviceRef` or `url`"),
        _backend({"url": "http://a/v1", "apiKey": _SECRET}, "`apiKey` would be sent in the clear"),
        _backend({**_HOSTED, "apiKey": {"secretKeyRef": {"name": "anneal-router", "key": "engineKey"}}}, "own keys"),
        *(
            _backend({**_HOSTED, "apiKey": {"secretKeyRef": {"name": "hosted", "key": key}}}, _PATTERN)
            for key in (".", "..", "../token", "..token")
        ),
        _backend({**_HOSTED, "apiKey": {"secretKeyRef": {"name": "hosted", "key": ".token"}}}),
        _backend({**_HOSTED, "caCertificateRef": {"name": "company-ca"}}),
        _backend({**_HOSTED, "caCertificateRef": {"name": "company-ca", "key": "../ca.crt"}}, _PATTERN),
        _backend({"url": "http://a/v1", "caCertificateRef": {"name": "ca"}}, "`caCertificateRef` is for certificates"),
        _backend(
            {"serviceRef": _SERVICE, "caCertificateRef": {"name": "ca"}}, "`caCertificateRef` is for certificates"
        ),
        _backend({**_HOSTED, "model": "it's"}, _PATTERN),
        _backend(_HOSTED, "set either `artifact`, for weights, or `backend`", artifact=artifact),
        _backend(_HOSTED, f"`serving` {of_weights}", serving={}),
        _backend(_HOSTED, f"`prompt` {of_weights}", prompt={}),
        *(
            Case(f"ModelVersion.backend.{field}", "ModelVersion", {"modelName": "m", "backend": backend}, _REQUIRED)
            for field, backend in (
                ("port", {"serviceRef": {"name": "vllm"}}),
                ("key", {**_HOSTED, "apiKey": {"secretKeyRef": {"name": "hosted"}}}),
                ("secretKeyRef", {**_HOSTED, "apiKey": {}}),
                ("name", {**_HOSTED, "caCertificateRef": {}}),
            )
        ),
    ]


def _cached(uri: str, refused: str | None = None) -> Case:
    spec = _set(GOOD["ModelVersion"], "artifact.uri", uri)
    spec = _set(spec, "serving", {"cache": {"claimName": "models"}})
    return Case(f"ModelVersion.serving.cache of {uri}", "ModelVersion", spec, refused)


_OUTPUT: Json = {"modelName": "spam-filter", "serving": {}}
_NO_ZERO = "set `window`, and a `range` that has 0 in it"
_WINDOWED: Json = {"primary": {"name": "r", "window": "24h", "range": {"min": 1, "max": 5}}}
_RARE: Json = {"name": "errors", "source": "Errors", "max": 0.01}
_FAILING = "or looks better: add a guardrail of `Errors`"
_TOKENS: Json = {"name": "tokens", "source": "OutputTokens"}
_TENTH, _ALL = {"maxRegressionPercent": 10}, {"maxRegressionPercent": 100}
_MORE = "where more is better, the limit is a `maxRegressionPercent` below 100"
_STARS: Json = {"name": "stars", "source": "Feedback", "range": {"min": 1, "max": 5}}
_AROUND_ZERO: Json = {"range": {"min": -1, "max": 1}}
_WAY, _SAID = "`OutputTokens` need a `direction`", "are of what users say"
_PART = "a part of the control's: below 1"
_EXPERIMENT: Json = {"candidatePercent": 20, "metrics": {"primary": {"name": "user_rating"}}}
_PATTERN, _ENUM, _REQUIRED = "should match", "Unsupported value", "Required value"
_LOW, _HIGH, _LONG = "should be greater than or equal to", "should be less than or equal to", "Too long"
_LONG_RAMP: list[Json] = [{"coverage": 5, "for": "330h"}, {"coverage": 20, "for": "6h"}, {"coverage": 100}]
_LAST_STEP, _GROWS = "each step of `ramp` but the last says", "must be above the one before"
_ONE_SOURCE = "each entry of `keyFrom` names one source"
_GPU = {"limits": {"nvidia.com/gpu": 2}}


def _serving(kind: str, path: str) -> list[Case]:
    """Settings of the engine, wherever they stand."""
    return [
        *(_case(kind, path, settings) for settings in _SERVED),
        *(_case(kind, path, settings, refused) for settings, refused in _NOT_SERVED),
        *(_engine_argument(kind, path, name, value) for name, value in _ARGUMENTS),
        *(_engine_argument(kind, path, name, value, refused) for name, value, refused in _NO_ARGUMENTS),
        _case(
            kind,
            path,
            {"engineArgs": [{"name": "seed", "value": "1"}, {"name": "seed", "value": "2"}]},
            "Duplicate value",
        ),
        _case(kind, path, {"engineArgs": [{"name": "enforce-eager"}]}, _REQUIRED),
    ]


def _engine_argument(kind: str, path: str, name: str, value: str, refused: str | None = None) -> Case:
    spec = _set(GOOD[kind], path, {"engineArgs": [{"name": name, "value": value}]})
    return Case(f"{kind}.{path}.engineArgs of {name} {value!r}", kind, spec, refused)


_SERVED: tuple[Json, ...] = (
    {"canaryTolerance": 0.2},
    {"prefixCaching": False, "trustRemoteCode": True},
    {"toolCallParser": "hermes", "reasoningParser": "None"},
    {"toolCallParser": "None", "reasoningParser": "deepseek_r1"},
    {"quantization": "FP8", "resources": _GPU},
    {"quantization": "FP8", "dtype": "BF16", "resources": {"requests": {"nvidia.com/mig-3g.40gb": "1"}}},
    {"podTemplate": {"nodeSelector": {"gpu": "h100"}, "env": [{"name": "NCCL_DEBUG", "value": "WARN"}]}},
    {"podTemplate": {"env": [{"name": "HOMEPAGE", "value": "1"}]}},
    {"nodes": 2, "resources": _GPU},
    {"autoscaling": {"maxReplicas": 1}},
    {"autoscaling": {"minReplicas": 0, "maxReplicas": 1}},
    {"autoscaling": {"maxReplicas": 1, "triggers": [{"type": "cpu", "metadata": {"value": "60"}}]}},
    {"autoscaling": {"minReplicas": 0, "maxReplicas": 4, "idleAfter": "1h"}},
    {"autoscaling": {"minReplicas": 2, "maxReplicas": 8, "targetRequests": 32, "scaleDownDelay": "1m"}},
    {"cache": {"claimName": "models.shared"}},
)
_NOT_SERVED: tuple[tuple[Json, str], ...] = (
    ({"quantization": "INT4"}, _ENUM),
    ({"canaryTolerance": 0}, _LOW),
    ({"canaryTolerance": 1.5}, _HIGH),
    ({"quantization": "FP8"}, "`quantization: FP8` needs a GPU"),
    ({"quantization": "FP8", "dtype": "FP32", "resources": _GPU}, "are reckoned with in 16 bits"),
    ({"maxModelLength": 64, "warmUp": {"maxTokens": 64}}, "leaves no room for a prompt within `maxModelLength`"),
    ({"autoscaling": {"maxReplicas": 1, "triggers": [{"type": "cpu"}]}}, _REQUIRED),
    ({"autoscaling": {"maxReplicas": 1, "triggers": [{"type": "CPU", "metadata": {}}]}}, _PATTERN),
    ({"nodes": 2}, "`nodes` share an engine between their GPUs"),
    ({"nodes": 17, "resources": _GPU}, _HIGH),
    ({"autoscaling": {}}, _REQUIRED),
    ({"autoscaling": {"minReplicas": -1, "maxReplicas": 2}}, _LOW),
    ({"autoscaling": {"minReplicas": 0, "maxReplicas": 0}}, _LOW),
    ({"autoscaling": {"maxReplicas": 2, "idleAfter": "30m"}}, "`minReplicas` says that there always are"),
    (
        {"autoscaling": {"minReplicas": 0, "maxReplicas": 2, "idleAfter": "30s"}},
        "`idleAfter` must be from 1m to 168h",
    ),
    ({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}, "`minReplicas` is more than `maxReplicas`"),
    ({"autoscaling": {"maxReplicas": 2, "scaleDownDelay": "30s"}}, "`scaleDownDelay` must be from 1m to 1h"),
    (
        {"autoscaling": {"maxReplicas": 2}, "engineArgs": [{"name": "max-num-queued-reqs", "value": "8"}]},
        "an engine that takes no more than `autoscaling.targetRequests` never asks for another pod",
    ),
    ({"toolCallParser": "hf"}, _ENUM),
    ({"cache": {}}, _REQUIRED),
    ({"cache": {"claimName": "models/shared"}}, _PATTERN),
    ({"reasoningParser": "Qwen3"}, _ENUM),
    (
        {"resources": {"limits": {"nvidia.com/mig-3g.40gb": 2}}},
        "a model cannot be shared out between slices of a GPU",
    ),
    ({"podTemplate": {"env": [{"name": "HOME", "value": "/"}]}}, "`env` cannot set what decides which code"),
    ({"podTemplate": {"env": [{"name": "VLLM_SERVER_DEV_MODE", "value": "1"}]}}, "`env` cannot set what decides"),
)
_ARGUMENTS = (
    ("enforce-eager", "true"),
    ("async-scheduling", "false"),
    ("gpu-memory-utilization", "0.92"),
    ("gpu-memory-utilization", "1"),
    ("max-num-seqs", "256"),
    ("max-logprobs", "0"),
    ("cpu-offload-gb", "1.5"),
    ("kv-cache-dtype", "fp8_e5m2"),
    ("optimization-level", "3"),
)
_UNKNOWN = "an engine argument is one of these, written in full and without dashes before it"
_NO_ARGUMENTS = (
    ("port", "9000", "the operator sets this"),
    ("served-model-name", "other", "the operator sets this"),
    ("api-key", "secret", "the operator sets this"),
    ("dtype", "float16", "this has a field of its own"),
    ("trust-remote-code", "true", "this has a field of its own"),
    ("lora-modules", "a=/b", "`sharing` and `adapters` say which adapters are loaded"),
    ("worker-extension-cls", "os.system", "this runs code, reads files or opens connections"),
    ("chat-template", "/tmp/x", "a version is asked as it was trained"),  # noqa: S108 - a value
    ("enable-log-requests", "true", "what users say stays out of logs"),
    ("--max-num-seqs", "8", _UNKNOWN),
    ("max_num_seqs", "8", _UNKNOWN),
    ("max-num-seq", "8", _UNKNOWN),
    ("max-num-seqs=8", "8", _UNKNOWN),
    ("no-enforce-eager", "true", _UNKNOWN),
    ("compilation-config.mode", "3", _UNKNOWN),
    ("trust-remote", "true", _UNKNOWN),
    ("tp", "2", _UNKNOWN),
    ("enforce-eager", "yes", "is `true` or `false`"),
    ("max-num-seqs", "0", "is a whole number from 1"),
    ("max-num-seqs", "8 --port=1", "is a whole number from 1"),
    ("max-num-seqs", "8\n", "is a whole number from 1"),
    ("max-logprobs", "-1", "is a whole number"),
    ("gpu-memory-utilization", "0.0", "is a share, such as"),
    ("gpu-memory-utilization", "1.1", "is a share, such as"),
    ("cpu-offload-gb", "lots", "is GiB, such as"),
    ("kv-cache-dtype", "fp", "is one of auto, bfloat16"),
    ("optimization-level", "4", "is 0 to 3"),
)


CASES = [
    *(Case(f"{kind}: the least", kind, spec) for kind, spec in GOOD.items()),
    *_impossible(),
    # FineTuneJob
    _random("Full"),
    _random("LoRA", "new weights must all be trained: `initialize: Random` needs `tuning.method: Full`"),
    _case("FineTuneJob", "base.uri", "models:/Spam.Filter_2@production"),
    _case("FineTuneJob", "base.uri", "hf://Qwen/Qwen3-8B"),
    _case("FineTuneJob", "base.uri", "hf://Qwen", _PATTERN),
    _case("FineTuneJob", "base.uri", "hf://Qwen/Qwen3-8B@main", _PATTERN),
    _case("FineTuneJob", "base.uri", "pvc://models/qwen3-8b"),
    _case("FineTuneJob", "base.uri", "pvc://models", _PATTERN),
    _case("FineTuneJob", "base.uri", "s3://models/qwen3-8b"),
    _case("FineTuneJob", "base.uri", "https://example.com/model", _PATTERN),
    _case("FineTuneJob", "base", {"uri": "hf://Qwen/Qwen3-8B", "revision": "9c925d64d72725edaf899c6cb9c377fd0709d9c5"}),
    _case("FineTuneJob", "base", {"uri": "hf://Qwen/Qwen3-8B", "revision": "a/b"}, _PATTERN),
    _case("FineTuneJob", "base.revision", "main", "only an hf:// source has a `revision`"),
    _case("FineTuneJob", "base", {"uri": "s3://models/qwen3-8b", "secretRef": {"name": "models"}}),
    _case("FineTuneJob", "base", {"uri": "s3://models/qwen3-8b", "secretRef": {"name": "No!"}}, _PATTERN),
    _case("FineTuneJob", "base", {"uri": "s3://models/qwen3-8b", "secretRef": {}}, _REQUIRED),
    _case("FineTuneJob", "base.secretRef", {"name": "hub"}, "only hf:// and s3:// sources read credentials"),
    _case("FineTuneJob", "base.trustRemoteCode", True),
    _case("FineTuneJob", "base.trustRemoteCode", "yes", "must be of type boolean"),
    _case("FineTuneJob", "base.uri", "models:/spam-filter", _PATTERN),
    _case("FineTuneJob", "base.uri", "configmap://tiny", "a configmap:// source holds no weights"),
    _case("FineTuneJob", "base.uri", ..., _REQUIRED),
    _case("FineTuneJob", "base.initialize", "Random", "a configmap:// source holds no weights"),
    _case("FineTuneJob", "base.initialize", "Zero", _ENUM),
    _case("FineTuneJob", "base", ..., _REQUIRED),
    _case("FineTuneJob", "dataset.sources.0.uri", "configmap://data", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", "configmap://data/../secret", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", "s3://bucket/rows.jsonl"),
    _case("FineTuneJob", "dataset.sources.0.uri", "s3://bucket", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", "pvc://data/rows/2026"),
    _case("FineTuneJob", "dataset.sources.0.uri", "pvc://data/질문답변.csv"),
    _case("FineTuneJob", "dataset.sources.0.uri", "pvc://data/질문\u3000답변.csv"),
    _case("FineTuneJob", "dataset.sources.0.uri", "pvc://data/질문 답변.csv", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", "pvc://data/a\u000bb", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", "https://example.com/rows.csv.gz"),
    _case("FineTuneJob", "dataset.sources.0.uri", "http://example.com/rows.csv", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", "hf://datasets/team/voices@v2/train.parquet"),
    _case("FineTuneJob", "dataset.sources.0.uri", "hf://team/voices", _PATTERN),
    _case("FineTuneJob", "dataset.sources.0.uri", ..., _REQUIRED),
    _case("FineTuneJob", "dataset.sources", ..., _REQUIRED),
    _case("FineTuneJob", "dataset.sources", [{"uri": "s3://a/b"}, {"uri": "configmap://data/rows.jsonl"}]),
    _case("FineTuneJob", "dataset.sources", [], "should have at least 1 items"),
    _case("FineTuneJob", "dataset.sources", [{"uri": "s3://a/b"}] * 65, "Too many"),
    _case("FineTuneJob", "dataset.sources", [{"uri": "s3://a/b", "secretRef": {"name": "reader"}}]),
    _case("FineTuneJob", "dataset.sources.0.secretRef", {"name": "reader"}, "only hf:// and s3:// sources"),
    _case("FineTuneJob", "dataset.sources.0.format", "Parquet"),
    _case("FineTuneJob", "dataset.sources.0.format", "XLSX", _ENUM),
    _case("FineTuneJob", "dataset.columns", {"input": "question.text", "output": "answer", "group": "customer"}),
    _case("FineTuneJob", "dataset.columns.label", "a b", _PATTERN),
    _case("FineTuneJob", "prompt.systemPrompt", "Answer briefly."),
    _case("FineTuneJob", "prompt.systemPrompt", "", "should be at least 1 chars long"),
    _case("FineTuneJob", "prompt.format", "Text"),
    _case("FineTuneJob", "prompt.format", "Alpaca", _ENUM),
    _case("FineTuneJob", "prompt.thinking", "Keep"),
    _case("FineTuneJob", "prompt.thinking", "Drop", _ENUM),
    _case("FineTuneJob", "prompt.chatTemplate", "{% for m in messages %}{{ m.content }}{% endfor %}"),
    _case("FineTuneJob", "prompt.chatTemplate", "", "should be at least 1 chars long"),
    _case("FineTuneJob", "prompt", {"format": "Text", "thinking": "Keep"}, "are for `format: Chat`"),
    _case("FineTuneJob", "prompt", {"format": "Text", "chatTemplate": "{{ messages }}"}, "are for `format: Chat`"),
    _case("FineTuneJob", "prompt", {"format": "Text", "text": "Q: {input}\nA: {output}\n"}),
    _case("FineTuneJob", "prompt", {"format": "Text", "text": "Q: {input}\nA: "}, "`text` ends with {output}"),
    _case("FineTuneJob", "prompt", {"format": "Text", "text": "{output} to {input}"}, "`text` ends with {output}"),
    _case("FineTuneJob", "prompt", {"format": "Text", "text": "A: {output}"}, "needs a field {input} or {instruction}"),
    _case("FineTuneJob", "prompt.text", "Customer: {input}"),
    _case("FineTuneJob", "prompt.text", "Customer: {input} {output}", "`text` ends with {output}"),
    _case(
        "FineTuneJob",
        "prompt",
        {"format": "Text", "text": "{instruction} {input} {output}", "textWithoutInput": "{instruction} {output}"},
    ),
    _case(
        "FineTuneJob",
        "prompt",
        {"format": "Text", "text": "{instruction} {input} {output}", "textWithoutInput": "{instruction}"},
        "`textWithoutInput` ends with {output}",
    ),
    _case("FineTuneJob", "prompt.textWithoutInput", "{instruction}", "needs a `text`"),
    _case("FineTuneJob", "prompt", {"text": "{input} {x}", "defaults": {"x": ""}}),
    _case("FineTuneJob", "prompt", {"format": "Text", "defaults": {"instruction": "Translate."}}),
    _case("FineTuneJob", "prompt.defaults", {"x": "1"}, "`defaults` fill fields of `text`"),
    _case("FineTuneJob", "prompt", {"text": "{input}", "defaults": {"x": 1}}, "must be of type string"),
    _case("FineTuneJob", "dataset.columns.context", ["a"], "`dataset.columns.context` are fields of `prompt.text`"),
    _case("FineTuneJob", "dataset.columns.context", ["meta.category-dict"], _PATTERN),
    _case("ModelVersion", "prompt", {"format": "Text", "text": "Q: {input}\nA: {output}"}),
    _case("ModelVersion", "prompt", {"thinking": "Keep"}),
    _case("ModelVersion", "prompt.text", "A: {output}", "needs a field {input} or {instruction}"),
    _case("FineTuneJob", "dataset.responseSchema", {"type": "object", "required": ["action"]}),
    _case("FineTuneJob", "dataset.responseSchema", "object", "must be of type object"),
    _dictionary(["meta.category_dict"]),
    _dictionary(["category_dict"]),
    _dictionary(["other_category_dict"], "name its column in `columns.context`"),
    _dictionary(["category_dict"], "should have at least 1 items", levels=[]),
    _dictionary(["category_dict"], _PATTERN, context="meta.category_dict"),
    _case("FineTuneJob", "dataset.clean", {"removePattern": "[^가-힣 ]", "collapseWhitespace": True}),
    _case("FineTuneJob", "dataset.clean", {"minCharacters": 5, "maxCharacters": 5}),
    _case("FineTuneJob", "dataset.clean", {"minCharacters": 6, "maxCharacters": 5}, "must not be above"),
    _case("FineTuneJob", "dataset.clean.maxCharacters", 0, _LOW),
    _case("FineTuneJob", "dataset.template", "InstructionIO"),
    _case("FineTuneJob", "dataset.template", "QuestionAnswer"),
    _case("FineTuneJob", "dataset.template", "chatml", _ENUM),
    _case("FineTuneJob", "dataset.template", ...),
    _case("FineTuneJob", "dataset.pii", {"action": "Drop", "entities": ["Name", "Phone"]}),
    _case("FineTuneJob", "dataset.pii.entities", ["Plate", "SocialSecurityNumber", "IpAddress"]),
    _case("FineTuneJob", "dataset.pii.entities", list(get_args(Entity))),
    _case("FineTuneJob", "dataset.pii.entities", ["PhoneNumber"], _ENUM),
    _case("FineTuneJob", "dataset.pii.entities", ["IPAddress"], _ENUM),
    _case("FineTuneJob", "dataset.quality", {"minScore": 0.4, "blockedWords": ["욕설"], "languages": ["ko"]}),
    _case("FineTuneJob", "dataset.quality.minScore", 1.1, _HIGH),
    _case("FineTuneJob", "dataset.quality.languages", ["fr"], _ENUM),
    _case("FineTuneJob", "dataset.maxTruncatedPercent", 101, _HIGH),
    _case("FineTuneJob", "dataset.maxRejectedPercent", 0),
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
    _case("FineTuneJob", "tuning.method", "QLoRA"),
    _case("FineTuneJob", "tuning.method", "DoRA", _ENUM),
    _case("FineTuneJob", "tuning", {"method": "QLoRA", "lora": {"rank": 8}, "quantization": {"bits": 8}}),
    _case("FineTuneJob", "tuning", {"method": "QLoRA", "quantization": {"bits": 2}}, _ENUM),
    _case("FineTuneJob", "tuning.quantization", {"bits": 4}, "`quantization` is only read with `method: QLoRA`"),
    _case("FineTuneJob", "tuning", {"method": "Full", "lora": {"rank": 8}}, "`lora` settings are only read with"),
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
    _case("FineTuneJob", "training.scheduler", "CosineWithRestarts"),
    _case("FineTuneJob", "training.scheduler", "cosine", _ENUM),
    _case("FineTuneJob", "training.optimizer", "PagedAdamW32bit"),
    _case("FineTuneJob", "training.optimizer", "Adam", _ENUM),
    _case("FineTuneJob", "training.warmupRatio", 0.1),
    _case("FineTuneJob", "training.warmupRatio", 0.95, _HIGH),
    _case(
        "FineTuneJob", "training", {"warmupRatio": 0.1, "warmupSteps": 5}, "give either `warmupSteps` or `warmupRatio`"
    ),
    _case("FineTuneJob", "training.maxGradNorm", 0),
    _case("FineTuneJob", "training.packing", True),
    _case("FineTuneJob", "training.assistantOnlyLoss", False),
    _case("FineTuneJob", "training.precision", "BF16"),
    _case("FineTuneJob", "training.precision", "INT8", _ENUM),
    _case("FineTuneJob", "training.precision", "FP16", "`training.precision: FP16` needs a GPU"),
    _case("FineTuneJob", "training.gradientCheckpointing", "None"),
    _case("FineTuneJob", "training.evaluateEverySteps", 0, _LOW),
    _case("FineTuneJob", "training.resumeFrom", {"fineTuneJobRef": {"name": "first"}}),
    _case("FineTuneJob", "training.resumeFrom", {"fineTuneJobRef": {"name": "first"}, "step": 100}),
    _case("FineTuneJob", "training.resumeFrom", {"fineTuneJobRef": {"name": "first"}, "step": 0}, _LOW),
    _case("FineTuneJob", "training.resumeFrom", {"step": 100}, _REQUIRED),
    _case("FineTuneJob", "training.maxEvaluationRows", 500),
    _case("FineTuneJob", "training.maxEvaluationRows", 0, _LOW),
    _case("FineTuneJob", "training.earlyStopping", {}),
    _case("FineTuneJob", "training.earlyStopping", {"patience": 0}, _LOW),
    _case("FineTuneJob", "training.earlyStopping", {"metric": "accuracy"}, _ENUM),
    _early_stopping_without_validation(),
    _case("FineTuneJob", "training.guards.lossSpike", {"factor": 4, "window": 20}),
    _case("FineTuneJob", "training.guards.lossSpike", {"factor": 1}, _LOW),
    _case("FineTuneJob", "training.guards.stalledAfter", "1h"),
    _case("FineTuneJob", "training.guards.stalledAfter", "9s", "must be from 10s to 24h"),
    _case("FineTuneJob", "distributed", {"strategy": "ZeRO3", "offload": "Parameters"}),
    _case("FineTuneJob", "distributed", {"strategy": "ZeRO2", "offload": "Optimizer"}),
    _case("FineTuneJob", "distributed", {"strategy": "ZeRO2", "offload": "Parameters"}, "only `strategy: ZeRO3`"),
    _case("FineTuneJob", "distributed", {"strategy": "DDP", "offload": "Optimizer"}, "are DeepSpeed's"),
    _case("FineTuneJob", "distributed", {"strategy": "ZeRO1", "deepspeedConfig": {"gradient_clipping": 0.5}}),
    _case("FineTuneJob", "distributed.deepspeedConfig", {}, "are DeepSpeed's"),
    _case("FineTuneJob", "distributed.strategy", "ZeRO4", _ENUM),
    _case("FineTuneJob", "stages.train.resources", {"limits": {"nvidia.com/gpu": 8, "cpu": "64", "memory": "900Gi"}}),
    _case("FineTuneJob", "stages.train.resources.requests.cpu", 0.5, "must be of type"),
    _case("FineTuneJob", "stages.train.resources.requests", {"memory": "lots"}, _PATTERN),
    _case("FineTuneJob", "stages.train.resources.requests", {"memory": "-1Gi"}, _PATTERN),
    _case("FineTuneJob", "stages.train.resources.requests", {"cpu": -1}, _LOW),
    _case("FineTuneJob", "stages.train.resources.requests", {"cpu": True}, "must be of type"),
    _case("FineTuneJob", "stages.train.resources.limits", {"nvidia.com/gpu": 1, "rdma/hca": 1, "cpu": "500m"}),
    _case(
        "FineTuneJob",
        "stages.train.resources.limits",
        {"nvidia.com/gpu": 1, "amd.com/gpu": 1},
        "of one resource name only",
    ),
    _case(
        "FineTuneJob",
        "stages.train.resources",
        {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/mig-1g.10gb": 1}},
        "of one resource name only",
    ),
    _case("FineTuneJob", "stages.evaluate.resources", {"limits": {"nvidia.com/mig-1g.10gb": "1"}}),
    _case("FineTuneJob", "stages.train.sharedMemory", "64Gi"),
    _case("FineTuneJob", "stages.train.sharedMemory", "much", _PATTERN),
    _case("FineTuneJob", "stages.train.terminationGracePeriodSeconds", 0, _LOW),
    _case("FineTuneJob", "podTemplate.priorityClassName", "batch-low"),
    _case("FineTuneJob", "podTemplate.labels", {"team": "mail"}),
    _case("FineTuneJob", "podTemplate.nodeSelector", {"anneal.dev/pool": "h100"}),
    _case("FineTuneJob", "podTemplate.nodeSelector", {"pool": "a b"}, _PATTERN),
    _case("FineTuneJob", "podTemplate.tolerations", [{"key": "gpu", "operator": "Exists"}]),
    *(
        _case("FineTuneJob", "stages.train.resources", {side: {name: "1"}}, refused)
        for side in ("requests", "limits")
        for name, refused in (
            *((known, None) for known in ("cpu", "ephemeral-storage", "rdma/hca", "nvidia.com/gpu")),
            *((odd, "must be resource names that Kubernetes knows") for odd in ("gpu", "CPU", "storage")),
        )
    ),
    _case("FineTuneJob", "podTemplate.tolerations", [{"operator": "Exists"}]),
    _case(
        "FineTuneJob", "podTemplate.tolerations", [{"operator": "Exists", "key": "a", "value": "b"}], "takes no `value`"
    ),
    _case("FineTuneJob", "podTemplate.tolerations", [{"value": "b"}], "`Equal` needs a `key`"),
    _case("FineTuneJob", "podTemplate.tolerations", [{"key": "a", "effect": "Never"}], _ENUM),
    _case("FineTuneJob", "podTemplate.affinity", {"nodeAffinity": {"anything": [1]}}),
    _case("FineTuneJob", "podTemplate.affinity", "near", "must be of type object"),
    _case("FineTuneJob", "podTemplate.affinity", {"podAffinity": "near"}, "must be of type object"),
    _case("FineTuneJob", "podTemplate.imagePullSecrets", [{"name": "registry"}]),
    _case("FineTuneJob", "podTemplate.env", [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "EMPTY"}]),
    _case("FineTuneJob", "podTemplate.env", [{"name": "A"}, {"name": "A", "value": "b"}], "Duplicate value"),
    _case("FineTuneJob", "podTemplate.env", [{"name": "1 A"}], _PATTERN),
    _case("FineTuneJob", "podTemplate.env", [{"name": "MASTER_ADDR", "value": "a"}], "what the stages rely on"),
    _case("FineTuneJob", "podTemplate.env", [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
    _case("FineTuneJob", "podTemplate.env", [{"name": "A", "valueFrom": {}}], "either `secretKeyRef` or"),
    _case(
        "FineTuneJob",
        "podTemplate.env",
        [{"name": "A", "value": "b", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
        "give either `value` or `valueFrom`",
    ),
    _case("FineTuneJob", "storage.claimName", "team-volume"),
    _case(
        "FineTuneJob", "storage", {"claimName": "team-volume", "template": {}}, "give either `claimName` or `template`"
    ),
    _case("FineTuneJob", "storage.template.accessModes", ["ReadWriteMany"]),
    _case("FineTuneJob", "storage.template.accessModes", ["ReadOnlyMany"], _ENUM),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "text", "type": "Text"}, {"name": "perplexity", "type": "Perplexity"}],
    ),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "judge", "type": "Judge", "url": "http://judge/v1", "model": "large"}],
    ),
    _case("FineTuneJob", "evaluation.suites", [{"name": "judge", "type": "Judge"}], "`Judge` needs `url` and `model`"),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "json", "type": "JSON", "model": "large"}],
        "`Judge` needs `url` and `model`",
    ),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "harness", "type": "Harness", "tasks": ["kobest"], "cases": "pvc://tasks/kobest"}],
    ),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "harness", "type": "Harness"}],
        "`Harness` needs `tasks` and `cases`",
    ),
    _case(
        "FineTuneJob", "evaluation.suites", [{"name": "text", "type": "Text", "cases": "configmap://cases/own.jsonl"}]
    ),
    _case("FineTuneJob", "evaluation.suites", [{"name": "text", "type": "Text", "cases": "s3://a/b"}], _PATTERN),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "rows", "type": "Perplexity", "cases": "configmap://cases/own.jsonl"}],
        "`Perplexity` is measured on the test rows",
    ),
    _case("FineTuneJob", "evaluation.compareBase", False),
    _case("FineTuneJob", "evaluation.engine", "Transformers"),
    _case("FineTuneJob", "evaluation.engine", "VLLM"),
    _case("FineTuneJob", "evaluation.engine", "vLLM", _ENUM),
    _constrained("JSON", None),
    _constrained("Classification", "VLLM", thinking="None"),
    _constrained("JSON", "Transformers", "`constrained` needs vLLM: set `engine`"),
    _constrained("Text", "VLLM", "only answers that `JSON` and `Classification` judge are `constrained`"),
    _constrained("JSON", "VLLM", "`constrained` answers satisfy `dataset.responseSchema`: give one", schema=False),
    _constrained("JSON", "VLLM", "`constrained` answers are JSON from their first character", thinking="Keep"),
    _case("FineTuneJob", "evaluation", _gated({"metric": "action/accuracy", "min": 0.9, "max": 0.95})),
    _case("FineTuneJob", "evaluation", _gated({"metric": "action/f1", "vsAlias": "base", "maxRegressionPercent": 2})),
    _case("FineTuneJob", "evaluation", _gated({"metric": "action/accuracy", "above": 0.9})),
    _case("FineTuneJob", "evaluation", _gated({"metric": "actoin/accuracy", "min": 0.9}), "name one of `suites`"),
    _case("FineTuneJob", "evaluation", _gated({"metric": "accuracy", "min": 0.9}), "name one of `suites`"),
    _case("FineTuneJob", "evaluation", _gated({"metric": "action/f1"}), "a gate needs `min`, `above`, `max` or"),
    _case(
        "FineTuneJob", "evaluation", _gated({"metric": "action/f1", "above": 0.9, "min": 0.9}), "bound the same side"
    ),
    _case(
        "FineTuneJob", "evaluation", _gated({"metric": "action/f1", "min": 0.9, "max": 0.1}), "must not exceed `max`"
    ),
    _case("FineTuneJob", "evaluation", _gated({"metric": "action/f1", "above": 0.9, "max": 0.9}), "must be less than"),
    _case("FineTuneJob", "evaluation", _gated({"min": 1}), _REQUIRED),
    _case(
        "FineTuneJob", "evaluation", _gated({"metric": "action/f1", "min": 0.9, "maxRegressionPercent": 2}), "name one"
    ),
    _case("FineTuneJob", "suspend", True),
    _case("FineTuneJob", "suspend", "true", "must be of type boolean"),
    _case("FineTuneJob", "maxAttempts", 1),
    _case("FineTuneJob", "maxAttempts", 0, _LOW),
    _case("FineTuneJob", "activeDeadlineSeconds", 86400),
    _case("FineTuneJob", "activeDeadlineSeconds", 0, _LOW),
    _case("FineTuneJob", "ttlSecondsAfterFinished", 0),
    _case("FineTuneJob", "ttlSecondsAfterFinished", -1, _LOW),
    _nodes(2, {"template": {"accessModes": ["ReadWriteMany"]}}),
    _nodes(2, {"claimName": "team-volume"}),
    _nodes(2, {}, "several nodes share one volume"),
    _nodes(65, {"claimName": "team-volume"}, _HIGH),
    _case("FineTuneJob", "scheduling.queueName", "research"),
    _case("FineTuneJob", "scheduling.queueName", "a b", _PATTERN),
    _case("FineTuneJob", "scheduling.topologyKey", "topology.kubernetes.io/zone"),
    _case("FineTuneJob", "tracking", {"experiment": "filters", "tags": {"team": "mail"}}),
    _case("FineTuneJob", "tracking.tags", {"team": 3}, "must be of type string"),
    _case("FineTuneJob", "output.formats", ["Adapter", "Merged"]),
    _case("FineTuneJob", "output.formats", ["Adapter"]),
    _case("FineTuneJob", "output", {**_OUTPUT, "formats": ["Adapter"]}, "an adapter alone cannot be served"),
    _case("FineTuneJob", "output", {**_OUTPUT, "formats": ["Adapter", "Merged"]}),
    _full_with_formats(["Merged"]),
    _full_with_formats(["Adapter", "Merged"], "`tuning.method: Full` makes no adapter"),
    _case("FineTuneJob", "output.formats", ["Merged4bit"], _ENUM),
    _case("FineTuneJob", "output.formats", ["GGUF"], _ENUM),
    _case("FineTuneJob", "output.license", "Apache-2.0"),
    _case("FineTuneJob", "output.canary", False),
    _case("FineTuneJob", "output.canary", 3, "must be of type boolean"),
    _case("FineTuneJob", "output", {**_OUTPUT, "experiment": _EXPERIMENT}),
    _case("FineTuneJob", "output", {**_OUTPUT, "experiment": {**_EXPERIMENT, "candidatePercent": 100}}, _HIGH),
    _case("FineTuneJob", "output", {**_OUTPUT, "experiment": {}}, _REQUIRED),
    _case(
        "FineTuneJob",
        "output",
        {**_OUTPUT, "experiment": {**_EXPERIMENT, "assignment": {"ramp": _LONG_RAMP}}},
        "raise `stopping.maxDuration` above their sum",
    ),
    _case(
        "FineTuneJob",
        "output",
        {**_OUTPUT, "experiment": {"metrics": _WINDOWED, "stopping": {"minDuration": "1h", "maxDuration": "26h"}}},
        "`stopping.maxDuration` must be 27h at least",
    ),
    _case(
        "FineTuneJob",
        "output",
        {**_OUTPUT, "experiment": {**_EXPERIMENT, "decision": {"mode": "Recommend", "approve": "candidate"}}},
        "is for whoever has seen what the experiment recommends",
    ),
    _case("FineTuneJob", "output", {**_OUTPUT, "experiment": {**_EXPERIMENT, "decision": {"mode": "Recommend"}}}),
    _case(
        "FineTuneJob",
        "output",
        {**_OUTPUT, "experiment": {**_EXPERIMENT, "assignment": {"trust": "Anyone"}}},
        "set `decision.mode: Observe`",
    ),
    _case("FineTuneJob", "output.experiment", _EXPERIMENT, "`experiment` compares versions that answer"),
    _case("FineTuneJob", "training.learningRate", 1),
    _case("FineTuneJob", "training.learningRate", 0, _LOW),
    _case("FineTuneJob", "training.learningRate", 1.5, _HIGH),
    _case("FineTuneJob", "training.maxSequenceLength", 8, _LOW),
    _case("FineTuneJob", "training.maxSteps", 10**30, _HIGH),
    _case("FineTuneJob", "storage.template", {"storageClassName": "fast", "size": "1Ti"}),
    _case("FineTuneJob", "storage.template.size", "-1Gi", _PATTERN),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "json", "type": "JSON"}, {"name": "classification", "type": "Classification", "labelField": "a.b"}],
    ),
    _case("FineTuneJob", "evaluation.suites", [{"name": "classification", "type": "Classification"}]),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "json", "type": "JSON", "labelField": "a"}],
        "only `Classification` takes `labelField` and `languageField`",
    ),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "a", "type": "Classification", "labelField": "a", "languageField": "b"}],
    ),
    _case(
        "FineTuneJob",
        "evaluation.suites",
        [{"name": "text", "type": "Text", "languageField": "a"}],
        "only `Classification` takes `labelField` and `languageField`",
    ),
    _case("FineTuneJob", "evaluation.suites", [{}], _REQUIRED),
    _case("FineTuneJob", "evaluation.suites", [{"name": "json", "type": "JSON"}] * 2, "Duplicate value"),
    _case("FineTuneJob", "evaluation.suites", [{"name": "a/b", "type": "JSON"}], _PATTERN),
    _case(
        "FineTuneJob", "evaluation.suites", [{"name": f"s{number}", "type": "JSON"} for number in range(9)], "Too many"
    ),
    _case("FineTuneJob", "output.modelName", "-spam", _PATTERN),
    _case("FineTuneJob", "output.modelName", "a" * 64, _LONG),
    _case("FineTuneJob", "output.modelName", "스팸", _PATTERN),
    _case("FineTuneJob", "output.modelName", "spam\u0000filter", _PATTERN),
    _case("FineTuneJob", "output.aliases", ["base", "candidate"]),
    _case("FineTuneJob", "output.aliases", ["Base"], _PATTERN),
    _case("FineTuneJob", "output.aliases", ["base", "base"], "Duplicate value"),
    _case("FineTuneJob", "output.aliases", ["latest"], "MLflow keeps `latest` and aliases like `v3` to itself"),
    _case("ModelVersion", "aliases", ["v12"], "MLflow keeps `latest` and aliases like `v3` to itself"),
    _case("ModelVersion", "aliases", ["v12b", "latest-good"]),
    _case("FineTuneJob", "output.serving", {}),
    _case("FineTuneJob", "output.serving.replicas", 101, _HIGH),
    _case("FineTuneJob", "output.serving.dtype", "INT8", _ENUM),
    *_serving("FineTuneJob", "output.serving"),
    *_serving("ModelVersion", "serving"),
    _case("ModelVersion", "serving", {"quantization": "AWQ"}),
    _case("ModelVersion", "serving", {"quantization": "CompressedTensors", "dtype": "FP32"}),
    _case("FineTuneJob", "output.serving", {"quantization": "GPTQ"}, "a job publishes weights of 16 bits or 32"),
    # ModelVersion
    *(
        _case("ModelVersion", "artifact.uri", uri)
        for uri in (
            "pvc://claim/path/모델",
            "s3://models/spam/1",
            "hf://team/spam",
            "hf://team/spam@v1.0/final",
            "oci://registry.example.com/team/spam:1",
            "oci://registry:5000/spam@sha256:" + "0" * 64,
        )
    ),
    *(
        _case("ModelVersion", "artifact.uri", uri, _PATTERN)
        for uri in ("pvc://claim", "s3://models", "hf://team", "oci://registry", "oci://r/spam@sha256:0", "https://a/b")
    ),
    *(
        _case("ModelVersion", "artifact.uri", uri, "leave `..`, `.` and empty names out")
        for uri in (
            "pvc://claim/a/../../b",
            "pvc://claim/.",
            "pvc://claim//",
            "pvc://claim/a//b",
            "mlflow-artifacts:/..",
            "mlflow-artifacts://elsewhere/x",
            "mlflow-artifacts:/1//x",
            "s3://models/..",
            "s3://models//x",
            "hf://our-team/spam@../x",
            "hf://our-team/..@v1",
        )
    ),
    _case("ModelVersion", "artifact.uri", "pvc://claim/a..b"),
    _version_of("s3://models/spam", secretRef={"name": "reader"}),
    _version_of("hf://team/spam", secretRef={"name": "reader"}),
    _version_of("pvc://claim/path", "only hf:// and s3:// sources read", secretRef={"name": "reader"}),
    _cached("s3://models/spam"),
    _cached("pvc://claim/path", "`serving.cache` keeps what is downloaded"),
    _cached("oci://registry/spam", "`serving.cache` keeps what is downloaded"),
    _case("ModelVersion", "artifact.uri", "mlflow-artifacts:/1/a b", _PATTERN),
    _case("ModelVersion", "artifact.digest", "sha256:0", _PATTERN),
    _case("ModelVersion", "artifact.bytes", 65_000_000_000),
    _case("ModelVersion", "artifact.bytes", 0, _LOW),
    _case("ModelVersion", "artifact.bytes", (1 << 50) + 1, _HIGH),
    _case("ModelVersion", "artifact.uri", "s3://models/spam/.cache/a.b/"),
    _case("ModelVersion", "artifact.format", "GGUF", _ENUM),
    _case("ModelVersion", "artifact", ..., "set either `artifact`, for weights, or `backend`"),
    *_backends(),
    _case("ModelVersion", "serving", {"maxModelLength": 4096}),
    _case(
        "ModelVersion",
        "serving",
        {"rollout": "Recreate", "startupDeadline": "2h", "drainSeconds": 0, "rollbackWindow": "0s"},
    ),
    _case("ModelVersion", "artifact.format", "Adapter"),
    *_served_adapters(),
    *_shared_jobs(),
    _case("ModelVersion", "serving.maxModelLength", 63, _LOW),
    _case("ModelVersion", "serving.rollout", "BlueGreen", _ENUM),
    _case("ModelVersion", "serving.retireAfter", "168h"),
    _case("ModelVersion", "serving.retireAfter", "1 week", _PATTERN),
    _case("ModelVersion", "serving.warmUp", {"requests": 8, "maxTokens": 64}),
    _case("ModelVersion", "serving.warmUp.requests", 257, _HIGH),
    _case("ModelVersion", "serving.drainSeconds", 86401, _HIGH),
    _case("ModelVersion", "serving", {"rollbackWindow": "8761h"}, "`rollbackWindow` must be from 0s to 8760h"),
    _case("ModelVersion", "serving", {"startupDeadline": "5s"}, "`startupDeadline` must be from 10s to 24h"),
    _case("ModelVersion", "provenance", {"fineTuneJobRef": {"name": "job"}}, _REQUIRED),
    # ABExperiment
    _case("ABExperiment", "control", "nobody", "`control` must be the name of exactly one variant"),
    _case("ABExperiment", "variants.1.name", "stable", "Duplicate value"),
    _case(
        "ABExperiment", "variants.1.modelVersionRef", {"name": "base"}, "each variant needs a ModelVersion of its own"
    ),
    _case("ABExperiment", "variants.1.weight", 0, _LOW),
    _case("ABExperiment", "variants.1.weight", ..., _REQUIRED),
    _case("ABExperiment", "variants", GOOD["ABExperiment"]["variants"][:1], "should have at least 2 items"),
    _case("ABExperiment", "variants", [*GOOD["ABExperiment"]["variants"], *map(_variant, range(6))]),
    _case("ABExperiment", "variants", [*GOOD["ABExperiment"]["variants"], *map(_variant, range(7))], "at most 8 items"),
    _case("ABExperiment", "assignment.keyFrom", [{"header": "X-Session"}, {"header": "X-User-Id"}]),
    _case("ABExperiment", "assignment.keyFrom", [{"header": "X User"}], _PATTERN),
    _case("ABExperiment", "assignment.keyFrom", [{"cookie": "session_id"}, {"bodyField": "user"}]),
    _case("ABExperiment", "assignment.keyFrom", [{"bodyField": "safety_identifier"}, {"header": "X-User-Id"}]),
    _case("ABExperiment", "assignment.keyFrom", [{"header": "X-User-Id", "cookie": "session_id"}], _ONE_SOURCE),
    _case("ABExperiment", "assignment.keyFrom", [{}], _ONE_SOURCE),
    _case("ABExperiment", "assignment.keyFrom", [{"jwtClaim": "sub"}], _ONE_SOURCE),
    _case("ABExperiment", "assignment.keyFrom", [{"cookie": "session id"}], _PATTERN),
    _case("ABExperiment", "assignment.keyFrom", [{"bodyField": "model"}], _ENUM),
    _case("ABExperiment", "assignment.trust", "Gateway"),
    _case("ABExperiment", "assignment.trust", "Authenticated", _ENUM),
    _case(
        "ABExperiment", "assignment.trust", "Anyone", "set `decision.mode: Observe`, or have a gateway name the users"
    ),
    _among("Observe", trust="Anyone"),
    _among("Recommend", trust="Anyone"),
    _case("ABExperiment", "assignment.salt", "", "should be at least 1 chars long"),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 5, "for": "1h"}, {"coverage": 100}]),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 50}]),
    _case("ABExperiment", "assignment.ramp", []),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 5}, {"coverage": 100}], _LAST_STEP),
    _case(
        "ABExperiment", "assignment.ramp", [{"coverage": 5, "for": "1h"}, {"coverage": 100, "for": "1h"}], _LAST_STEP
    ),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 5}, {"coverage": 100, "for": "1h"}], _LAST_STEP),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 5, "for": "1h"}, {"coverage": 5}], _GROWS),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 50, "for": "1h"}, {"coverage": 5}], _GROWS),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 0}], _LOW),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 101}], _HIGH),
    _case("ABExperiment", "assignment.ramp", [{"for": "1h"}, {"coverage": 100}], _REQUIRED),
    _case(
        "ABExperiment",
        "assignment.ramp",
        [{"coverage": 5, "for": "9s"}, {"coverage": 100}],
        "`for` must be from 10s to 8760h",
    ),
    _case("ABExperiment", "assignment.ramp", [{"coverage": 5, "for": "335h59m"}, {"coverage": 100}]),
    _case(
        "ABExperiment",
        "assignment.ramp",
        _LONG_RAMP,
        "raise `stopping.maxDuration` above their sum",
    ),
    _case("ABExperiment", "assignment.layer", {"name": "checkout", "from": 0, "to": 5000}),
    _case("ABExperiment", "assignment.layer", {"name": "checkout", "from": 9999, "to": 10000}),
    _case("ABExperiment", "assignment.layer", {"name": "checkout", "from": 5, "to": 5}, "`from` must be below `to`"),
    _case("ABExperiment", "assignment.layer", {"name": "checkout", "from": 0, "to": 10001}, _HIGH),
    _case("ABExperiment", "assignment.layer", {"name": "checkout", "to": 5000}, _REQUIRED),
    _case("ABExperiment", "assignment.holdoutPercent", 10),
    _case("ABExperiment", "assignment.holdoutPercent", 91, _HIGH),
    _case("ABExperiment", "assignment.override", {"header": "X-Variant", "users": ["alice"]}),
    _case("ABExperiment", "assignment.override", {"header": "X-Variant", "users": []}, "should have at least 1 items"),
    _case("ABExperiment", "assignment.override", {"header": "X-Variant", "users": ["a", "a"]}, "Duplicate value"),
    _case(
        "ABExperiment",
        "assignment",
        {"keyFrom": [{"header": "X-Me"}], "override": {"header": "x-me", "users": ["alice"]}},
        "`override.header` names a variant",
    ),
    _among(
        "Observe",
        "everybody may call themselves a tester",
        trust="Anyone",
        override={"header": "X-Variant", "users": ["alice"]},
    ),
    _case("ABExperiment", "metrics.primary.source", "Cost", _ENUM),
    *(
        _case("ABExperiment", "metrics.primary", {"name": "r", **told}, refused)
        for told, refused in (
            ({"source": "Refusals", "samplePercent": 20, "minimumDetectableEffect": 0.01}, None),
            ({"source": "SchemaValidity", "responseSchema": "{}"}, None),
            ({"source": "SchemaValidity"}, "`SchemaValidity` needs a `responseSchema`"),
            ({"source": "Refusals", "responseSchema": "{}"}, "`SchemaValidity` needs a `responseSchema`"),
            ({"source": "Errors", "samplePercent": 20}, "`samplePercent` is of answers that are scored"),
            ({"source": "Refusals", "minimumDetectableEffect": 1}, "`minimumDetectableEffect` of `Errors`"),
            ({"source": "Errors", "minimumDetectableEffect": 0.01}, None),
            ({"source": "Latency", "minimumDetectableEffect": 0.1, "missing": "Ignore"}, None),
            ({"source": "TimeToFirstToken"}, _FAILING),
            ({"source": "TimePerOutputToken", "minimumDetectableEffect": 0.005}, _FAILING),
            ({"source": "OutputTokens", "direction": "Increase", "minimumDetectableEffect": 20}, None),
            ({"source": "OutputTokens", "direction": "Decrease"}, _FAILING),
            ({"source": "OutputTokens"}, _WAY),
            ({"source": "Latency", "direction": "Decrease"}, _WAY),
            ({"source": "Errors", "direction": "Increase"}, _WAY),
            ({"source": "Latency", "range": {"min": 0, "max": 5}}, _SAID),
            ({"source": "Errors", "range": {"min": 0, "max": 1}, "window": "24h"}, _SAID),
            ({"source": "Errors", "range": {"min": 0, "max": 1}, "window": "24h", "missing": "Zero"}, _SAID),
            ({"source": "Errors", "minimumDetectableEffect": 1}, _PART),
            ({"source": "TimeToFirstToken", "minimumDetectableEffect": 30}, _PART),
            ({"source": "TimePerOutputToken", "minimumDetectableEffect": 5}, "0.005 is five milliseconds"),
        )
    ),
    _case("ABExperiment", "type", "AB"),
    _case("ABExperiment", "type", "Mirror", _ENUM),
    _case("ABExperiment", "metrics", ..., "`metrics` is what users are compared by"),
    _case("ABExperiment", "shadow", {"percent": 5}, "`shadow` bounds the copies of `type: Shadow`"),
    _shadow(),
    _shadow(shadow={}),
    _shadow(
        shadow={"percent": 1, "maxRequestsPerSecond": 1000, "maxInFlight": 64, "timeout": "600s", "comparisons": 9}
    ),
    _shadow(stopping={"minDuration": "1h", "maxDuration": "2h"}),
    _shadow(assignment={"keyFrom": [{"header": "X-User-Id"}]}),
    *(_shadow(_LOW, shadow={name: 0}) for name in ("percent", "maxRequestsPerSecond", "maxInFlight", "comparisons")),
    _shadow(_HIGH, shadow={"percent": 101}),
    _shadow(_HIGH, shadow={"maxInFlight": 65}),
    _shadow("`timeout` must be from 1s to 600s", shadow={"timeout": "0s"}),
    _shadow("leave `decision.bake` out", decision={"mode": "Observe", "bake": "1h"}),
    _shadow("leave it out with `type: Shadow`", metrics={"primary": {"name": "user_rating"}}),
    *(
        _shadow("set `decision.mode: Observe`", decision=said)
        for said in ({}, {"mode": "Automatic"}, {"mode": "Recommend"})
    ),
    *(
        _shadow("leave `assignment` out", assignment=said)
        for said in (
            {"ramp": [{"coverage": 50}]},
            {"layer": {"name": "l", "from": 0, "to": 5000}},
            {"holdoutPercent": 1},
            {"salt": "s"},
            {"trust": "Anyone"},
            {"keyFrom": [{"header": "X-Other"}]},
            {"keyFrom": [{"cookie": "X-User-Id"}]},
            {"keyFrom": [{"header": "X-User-Id"}, {"cookie": "c"}]},
        )
    ),
    *(
        _shadow("no users are compared", stopping=said)
        for said in ({"method": "FixedHorizon"}, {"confidence": 0.9}, {"minUsersPerVariant": 100})
    ),
    _case("ABExperiment", "metrics.primary.range", {"min": 1, "max": 5}),
    _case("ABExperiment", "metrics.primary.range", {"min": -0.5, "max": 0.5}),
    _case("ABExperiment", "metrics.primary.range", {"min": 5, "max": 5}, "`max` must be above `min`"),
    _case("ABExperiment", "metrics.primary.range", {"min": 1}, _REQUIRED),
    _case("ABExperiment", "metrics.primary.range", {"min": 0, "max": 1e13}, _HIGH),
    _case("ABExperiment", "metrics.primary.name", "User Rating", _PATTERN),
    _case("ABExperiment", "metrics.primary", {"name": "r", "window": "24h", "range": {"min": 1, "max": 5}}),
    _case("ABExperiment", "metrics.primary", {"name": "r", "window": "1h", "range": {"min": 1, "max": 5}}, _ENUM),
    _case("ABExperiment", "metrics.primary.window", "24h", "`window` needs a `range`"),
    *(
        _case("ABExperiment", "metrics.primary", {**told, "name": "r", "missing": "Zero"}, refused)
        for told, refused in (
            ({"range": {"min": 0, "max": 1}, "window": "24h"}, None),
            ({"range": {"min": -1, "max": 0}, "window": "24h"}, None),
            ({"range": {"min": 1, "max": 5}, "window": "24h"}, _NO_ZERO),
            ({"range": {"min": -5, "max": -1}, "window": "24h"}, _NO_ZERO),
            ({"range": {"min": 0, "max": 1}}, _NO_ZERO),
            ({}, _NO_ZERO),
        )
    ),
    _case("ABExperiment", "metrics.primary.missing", "Worst", _ENUM),
    Case(
        "ABExperiment: a window that is not over before the end",
        "ABExperiment",
        {
            **GOOD["ABExperiment"],
            "metrics": _WINDOWED,
            "stopping": {"minDuration": "0s", "maxDuration": "26h"},
        },
        "`stopping.maxDuration` must be 27h at least",
    ),
    _case("ABExperiment", "metrics.secondary", [{"name": "solved"}, {"name": "latency", "source": "Latency"}]),
    _case("ABExperiment", "metrics.secondary", [{"name": f"m{n}", "source": "OutputTokens"} for n in range(8)]),
    _case("ABExperiment", "metrics.secondary", [{"name": f"m{n}"} for n in range(9)], "at most 8 items"),
    _case("ABExperiment", "metrics.secondary", [{"name": "m"}, {"name": "m", "source": "Errors"}], "Duplicate value"),
    _case("ABExperiment", "metrics.secondary", [{"name": "m", "source": "Cost"}], _ENUM),
    _case("ABExperiment", "metrics.secondary", [{"name": "user_rating"}], "a metric is told once"),
    *(
        _case("ABExperiment", "metrics", {"primary": {**_TOKENS, "direction": "Decrease"}, "guardrails": [one]}, told)
        for one, told in ((_RARE, None), ({**_RARE, "source": "Latency"}, _FAILING))
    ),
    *(
        _case("ABExperiment", "metrics", {"primary": {"name": "r", "source": source}, "guardrails": [_RARE]})
        for source in ("TimeToFirstToken", "TimePerOutputToken")
    ),
    _case("ABExperiment", "metrics.guardrails", [_RARE, {"name": "latency", "source": "Latency", **_TENTH}]),
    _case("ABExperiment", "metrics.guardrails", [_RARE, {**_RARE, "source": "Latency"}], "Duplicate value"),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "name": f"e{number}"} for number in range(4)]),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "name": f"e{n}"} for n in range(5)], "at most 4 items"),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, **_TENTH}], "a guardrail has one limit"),
    _case("ABExperiment", "metrics.guardrails", [{"name": "errors", "source": "Errors"}], "a guardrail has one limit"),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "source": "Refusals"}], _ENUM),
    _case("ABExperiment", "metrics.guardrails", [{"name": "errors", "max": 5}], _REQUIRED),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "max": 1}], "a share of the requests, below 1"),
    *(_case("ABExperiment", "metrics.guardrails", [{**_RARE, "max": one}], "is from 0.000001") for one in (0, -1)),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, "direction": "Decrease", "max": 1e7}], "is from 0.000001"),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "name": "Errors"}], _PATTERN),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "source": "Latency", "max": 5}]),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "source": "Latency", "max": 0.001}], "above a millisecond"),
    _case(
        "ABExperiment", "metrics.guardrails", [{**_RARE, "source": "Latency", "max": 2000}], "the most that is count"
    ),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "source": "TimePerOutputToken", "max": 0.001}]),
    _case(
        "ABExperiment", "metrics.guardrails", [{**_RARE, "source": "TimePerOutputToken", "max": 50}], "0.05 is 50 ms"
    ),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "direction": "Decrease"}], "leave it out"),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, "direction": "Increase", **_TENTH}]),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, "direction": "Decrease", "max": 300}]),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, **_TENTH}], _WAY),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, "direction": "Increase", "max": 300}], _MORE),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, "direction": "Increase", **_ALL}], _MORE),
    _case("ABExperiment", "metrics.guardrails", [{**_TOKENS, "direction": "Decrease", **_ALL}]),
    *(
        _case("ABExperiment", "metrics.guardrails", [{**_STARS, **changes}], told)
        for changes, told in (
            (_TENTH, None),
            ({"min": 3.5}, None),
            ({"min": 3.5, "direction": "Increase"}, None),
            ({"max": 3.5, "direction": "Decrease"}, None),
            ({**_ALL, "direction": "Decrease"}, None),
            ({"min": -0.5, **_AROUND_ZERO}, None),
            ({"max": -0.5, "direction": "Decrease", **_AROUND_ZERO}, None),
            ({}, "a guardrail has one limit"),
            ({**_TENTH, "min": 3.5}, "a guardrail has one limit"),
            ({"max": 3.5}, "the limit is `min`"),
            (_ALL, "the limit is `min`"),
            ({"min": 3.5, "direction": "Decrease"}, "`min` is of `Feedback`"),
            ({"min": 1}, "at neither end of it"),
            ({"min": 5.5}, "at neither end of it"),
            ({"max": 5, "direction": "Decrease"}, "at neither end of it"),
            ({**_TENTH, **_AROUND_ZERO}, "only where none is below 0"),
        )
    ),
    _case(
        "ABExperiment", "metrics.guardrails", [{"name": "stars", "source": "Feedback", **_TENTH}], "needs the `range`"
    ),
    _case("ABExperiment", "metrics.guardrails", [{**_RARE, "range": {"min": 0, "max": 1}}], "leave it out"),
    _case("ABExperiment", "metrics.guardrails", [{"name": "errors", "source": "Errors", "min": 0.1}], "`min` is of"),
    *(
        _case("ABExperiment", "metrics", {"primary": primary, "guardrails": [{**_STARS, **_TENTH}]}, told)
        for primary, told in (
            ({"name": "stars", "range": {"min": 1, "max": 5}}, None),
            ({"name": "stars", "source": "Latency"}, None),
            ({"name": "solved", "range": {"min": 0, "max": 1}}, None),
            ({"name": "stars"}, "is of the same `range`"),
            ({"name": "stars", "range": {"min": 0, "max": 5}}, "is of the same `range`"),
        )
    ),
    _case("ABExperiment", "metrics.primary.minimumDetectableEffect", 0.2),
    _case("ABExperiment", "metrics.primary.minimumDetectableEffect", 0, _LOW),
    _case("ABExperiment", "stopping.method", "FixedHorizon"),
    _case("ABExperiment", "stopping.method", "Bayesian", _ENUM),
    _case("ABExperiment", "stopping.minDuration", "24h"),
    _case("ABExperiment", "stopping.minDuration", "1h30m"),
    _case("ABExperiment", "stopping.minDuration", "1 day", _PATTERN),
    _case("ABExperiment", "stopping.minDuration", "2d", _PATTERN),
    _case("ABExperiment", "stopping.minDuration", "30m1h", _PATTERN),
    _case("ABExperiment", "stopping.minDuration", "٣s", _PATTERN),
    _case("ABExperiment", "stopping", {"minDuration": "336h0m1s"}, "must not be above `maxDuration`"),
    _case("ABExperiment", "stopping", {"minDuration": "0s", "maxDuration": "10s"}),
    _case("ABExperiment", "stopping", {"minDuration": "0s", "maxDuration": "9s"}, "must be from 10s to 8760h"),
    _case("ABExperiment", "stopping", {"minDuration": "0s", "maxDuration": "0s"}, "must be from 10s to 8760h"),
    _case("ABExperiment", "stopping.maxDuration", "8760h1s", "must be from 10s to 8760h"),
    _case("ABExperiment", "stopping.confidence", 1.0, _HIGH),
    _case("ABExperiment", "decision.scaleDownDelay", "24h1s", "must be from 0s to 24h"),
    _case("ABExperiment", "decision.mode", "Ask", _ENUM),
    _case("ABExperiment", "decision", {"mode": "Recommend", "approve": "tuned"}),
    _case("ABExperiment", "decision", {"approve": "tuned"}, "leave it out, or set that mode"),
    _case("ABExperiment", "decision", {"mode": "Recommend", "approve": "stable"}, "the name of a challenger"),
    _case("ABExperiment", "decision", {"mode": "Recommend", "approve": "nobody"}, "the name of a challenger"),
    _case("ABExperiment", "decision", {"bake": "336h", "bakeHoldbackPercent": 50}),
    _case("ABExperiment", "decision.bake", "336h1s", "`bake` must be from 0s to 336h"),
    _case("ABExperiment", "decision.bakeHoldbackPercent", 0, _LOW),
    _case("ABExperiment", "decision.bakeHoldbackPercent", 51, _HIGH),
    _case("ABExperiment", "type", "AB"),
    _case("ABExperiment", "type", "BB", _ENUM),
    _case("ABExperiment", "type", "AA", "there is nothing to promote: set `decision.mode: Observe`"),
    _of_equals({"mode": "Observe"}),
    _of_equals({"mode": "Observe"}, variants=_TWICE),
    _of_equals({"mode": "Recommend"}, "there is nothing to promote", variants=_TWICE),
    _of_equals({"mode": "Recommend", "approve": "tuned"}, "there is nothing to promote"),
    _of_equals({"mode": "Observe", "approve": "tuned"}, "leave it out, or set that mode"),
    _of_equals({"mode": "Observe", "bake": "0s"}),
    _of_equals({"mode": "Observe", "bake": "1h"}, "leave `decision.bake` out"),
    _of_equals({"mode": "Observe"}, assignment={"trust": "Anyone"}),
    _case("ABExperiment", "variants", _TWICE, "only with `type: AA` may several have the same"),
    _case("ABExperiment", "suspend", True),
    _case("ABExperiment", "abort", True),
]
