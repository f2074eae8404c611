"""What the operator hands to the serving side: the plan of one server, and the route table of a namespace."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .task_table import TaskDictionary, TaskRules, TaskTable
from .terms import (
    ADMIN_KEY_VARIABLE,
    AUTHORITIES_VARIABLE,
    BACKEND_AUTHORITIES_FOLDER,
    BACKEND_KEYS_FOLDER,
    ENGINE_KEY_VARIABLE,
    FORMAT,
    PLAIN_FORMAT,
    RECORDS_FOLDER,
    TASKS_KEY_HEADER,
    TASKS_KEY_VARIABLE,
    USER_KEY_VARIABLE,
    digest_of_target,
)

__all__ = [
    "ADAPTERS_FILE",
    "ADAPTERS_PATH",
    "ADMIN_KEY_VARIABLE",
    "ADMIN_PORT",
    "ALIVE_PATH",
    "ANSWERS_DIFFER",
    "ANY_ENDPOINT",
    "AUTHORITIES_VARIABLE",
    "BACKENDS_PATH",
    "BACKEND_AUTHORITIES_FOLDER",
    "BACKEND_KEYS_FOLDER",
    "BUCKETS",
    "CLIENT_PORT",
    "DOWNLOAD_PATH",
    "ENGINE_KEY_VARIABLE",
    "FORMAT",
    "LEFT_BY_ALL_SECONDS",
    "LONGEST_SILENCE_SECONDS",
    "PLAIN_FORMAT",
    "PROXY_VARIABLES",
    "RECORDER_PORT",
    "RECORDS_FOLDER",
    "SILENCE_VARIABLE",
    "STARTED_PATH",
    "TASKS_KEY_HEADER",
    "TASKS_KEY_VARIABLE",
    "TASKS_PORT",
    "USER_HEADER",
    "USER_KEY_VARIABLE",
    "WARM_UP_VARIABLE",
    "WEIGHTS_CONTAINER",
    "AdapterLimits",
    "AdapterProblem",
    "AdapterRank",
    "AdapterReport",
    "BackendProblem",
    "BackendReport",
    "BackendReports",
    "BackendTarget",
    "Downloaded",
    "Dtype",
    "ExperimentRoute",
    "KeyRoute",
    "LayerRoute",
    "LoadedAdapter",
    "ModelRoute",
    "OverrideRoute",
    "Quantization",
    "ReasoningParser",
    "RouteTable",
    "ScoresRoute",
    "ServingPlan",
    "ShadowRoute",
    "Stamp",
    "Target",
    "TaskDictionary",
    "TaskRules",
    "TaskTable",
    "ToolCallParser",
    "VariantRoute",
    "WantedAdapter",
    "WantedAdapters",
    "WarmUp",
    "boundaries",
    "bucket",
    "covered",
    "places",
    "weights_folder",
]

BUCKETS = 10_000
CLIENT_PORT, RECORDER_PORT, ADMIN_PORT, TASKS_PORT = 8080, 8081, 8082, 8083
"""Of a namespace's router, recorder and task API: clients have business at the first alone."""
USER_HEADER = "X-User-Id"
"""Where requests name their user: what experiments look at unless they say otherwise, and whatever is in none."""
ALIVE_PATH, STARTED_PATH = "/-/alive", "/-/started"
"""Where the kubelet asks an engine: whether it makes progress, and whether it has answered a question yet."""
DOWNLOAD_PATH = "/-/download"
"""Where whoever asks is told how far the download of an engine's weights is, at the engine's port."""
ANSWERS_DIFFER = 79
"""How an engine ends that does not answer as its version did in training."""
ADAPTERS_PATH = "/-/adapters"
"""Where the operator asks an engine of several versions which of them it has loaded: who asks only reads."""
BACKENDS_PATH = "/-/backends"
"""Where the operator asks a router how the backends stand that it asks in place of engines: a BackendReports."""
ADAPTERS_FILE = "adapters.json"
"""In the ConfigMap of such an engine, and mounted in its pods: a WantedAdapters."""
WARM_UP_VARIABLE = "ANNEAL_WARM_UP"
"""In the environment of engines: a WarmUp as JSON; without it, one question of one token."""
SILENCE_VARIABLE, LONGEST_SILENCE_SECONDS = "ANNEAL_LONGEST_SILENCE", 120
"""In the environment of engines: after how many seconds without a step or an answer one is dead; else that long."""
PROXY_VARIABLES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"})
"""What a download's environment says of the way to servers, in capitals or not."""
ANY_ENDPOINT = ("https://", "http://")
"""How endpoints of hubs and S3 may begin where all are taken."""
WEIGHTS_CONTAINER = "weights"
"""What goes before an engine in its pod, to bring its weights."""
LEFT_BY_ALL_SECONDS = 90
"""After which every router has heard that a pod is to end: an agent gives a watch up of which it hears nothing after 75
(router/watch.py).
"""
Dtype = Literal["Auto", "BF16", "FP16", "FP32"]
Quantization = Literal["Auto", "FP8", "AWQ", "GPTQ", "CompressedTensors"]
# The names after `None` are the engine's own (its `hf`, which is no format, but what a tokenizer says, is not among
# them): tests/serving_runtime/golden holds them to the engine that is pinned.
ToolCallParser = Literal[
    "Auto",
    "None",
    "apertus",
    "cohere_command3",
    "cohere_command4",
    "deepseek_v3",
    "deepseek_v31",
    "deepseek_v32",
    "deepseek_v4",
    "deepseek_v41",
    "dots",
    "ernie45",
    "functiongemma",
    "gemma4",
    "gigachat3",
    "glm45",
    "glm47",
    "granite",
    "granite-20b-fc",
    "granite4",
    "hermes",
    "hunyuan_a13b",
    "hy_v3",
    "hy_v4",
    "inkling",
    "internlm",
    "jamba",
    "k2_horizon",
    "kimi_k2",
    "kimi_k3",
    "lfm2",
    "ling3",
    "llama3_json",
    "llama4_json",
    "llama4_pythonic",
    "longcat",
    "mimo",
    "minicpm5",
    "minimax_m2",
    "minimax_m3",
    "mistral",
    "muse_glimmer",
    "olmo3",
    "openai",
    "phi4_mini_json",
    "plamo3",
    "poolside_v1",
    "pythonic",
    "qwen3_coder",
    "qwen3_json",
    "qwen3_xml",
    "seed_oss",
    "step3",
    "step3p5",
    "xlam",
]
ReasoningParser = Literal[
    "Auto",
    "None",
    "cohere_command3",
    "cohere_command4",
    "deepseek_r1",
    "deepseek_v3",
    "deepseek_v4",
    "deepseek_v41",
    "ernie45",
    "gemma4",
    "glm45",
    "glm47",
    "granite",
    "granite_thinking_parser",
    "holo2",
    "hunyuan_a13b",
    "hy_v3",
    "hy_v4",
    "inkling",
    "k2_horizon",
    "kimi_k2",
    "kimi_k3",
    "ling3",
    "mimo",
    "minicpmv",
    "minimax_m2",
    "minimax_m2_append_think",
    "minimax_m3",
    "mistral",
    "muse_glimmer",
    "nemotron_v3",
    "olmo3",
    "openai_gptoss",
    "plamo3",
    "poolside_v1",
    "qwen3",
    "seed_oss",
    "step3",
    "step3p5",
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class WarmUp(_Part):
    """What an engine answers before it is ready."""

    requests: int = 1
    max_tokens: int = 1


class Downloaded(_Part):
    """How far the download of an artifact is; nothing of it is known while `total_bytes` is 0."""

    bytes: int = Field(ge=0, le=1 << 60)
    """What is here, from earlier times, too."""
    total_bytes: int = Field(ge=0, le=1 << 60)
    bytes_per_second: int = Field(ge=0, le=1 << 60)
    """Lately."""


BackendProblem = Literal[
    "AddressRefused", "AuthoritiesMissing", "KeyMissing", "KeyRefused", "ModelUnknown", "Unreachable", "Unusable"
]
"""Why a backend does not answer as it should."""
AdapterRank = Literal[8, 16, 32, 64, 128, 256, 320, 512]
"""The limits that the engine knows; its 1 serves no adapter of ours."""


class AdapterLimits(_Part):
    """What an engine of several versions sets aside for their adapters."""

    max_rank: AdapterRank
    at_once: int
    """How many different ones answer in one step; others wait."""


class _Told(BaseModel):
    """Part of what another release may tell, which may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class WantedAdapter(_Told):
    """A version that is to be loaded, by its name."""

    uri: str
    digest: str


class WantedAdapters(_Told):
    """All versions that an engine is to have; without one of these it never starts."""

    adapters: dict[str, WantedAdapter]


class LoadedAdapter(_Told):
    """One that an engine answers with."""

    digest: str = Field(max_length=71)
    verified_at: str = Field(max_length=20, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")
    """When its files were found to have this digest, just before they were loaded (RFC 3339, UTC)."""


class AdapterProblem(_Told):
    """Why one is not loaded."""

    digest: str = Field(max_length=71)
    message: str = Field(max_length=600)


class AdapterReport(_Told):
    """What one pod tells of its adapters, by the versions' names."""

    loaded: dict[str, LoadedAdapter] = {}
    problems: dict[str, AdapterProblem] = {}


class ServingPlan(_Part):
    """How one pod serves one version, or the base of several."""

    tracking_uri: str
    uri: str
    """The artifact's address: a folder with a manifest."""
    digest: str
    """The digest that its manifest must have."""
    served_name: str
    """The name that the engine knows the version by."""
    public_name: str = ""
    """The name that clients call, and read in the answers; an earlier build's engine does not know it."""
    dtype: Dtype
    max_model_length: int
    thinks: bool = False
    """Whether the model thinks before it answers, so that its thoughts are told from its answers."""
    engine_args: list[str]
    """More of the engine's arguments, as it reads them."""
    tensor_parallel: int = 1
    """The GPUs that share each layer."""
    quantization: Quantization = "Auto"
    prefix_caching: bool = True
    trust_remote_code: bool = False
    tool_call_parser: ToolCallParser = "Auto"
    reasoning_parser: ReasoningParser = "Auto"
    drain_seconds: int = 600
    """How long answers under way may take once it is asked to end."""
    canary_tolerance: float = 0.05
    """How far a stored answer's mean log-probability may be from training's."""
    adapters: AdapterLimits | None = None
    """Where the folder is a base, and versions are adapters on it."""


class BackendTarget(_Part):
    """A server that is no engine of ours."""

    scheme: Literal["http", "https"]
    host: str
    """Its name: what is looked up, asked for (Host) and, of https, verified."""
    port: int
    path: str
    """What stands before `/chat/completions`, such as `/v1`."""
    key: str = ""
    """The file of the key that it is sent; never a namespace's own. It is called by the version and by where the key
    goes, so a pod that mounts the key of another backend, which had this version's name, sends none.
    """
    trusted: str = ""
    """The file of those who alone vouch for its certificate, called as a key's is; of most backends there is none."""
    service: str = ""
    """The Service that says which pods are asked; the host's addresses are where it is empty. It is not in the target's
    own field, by which a router of an earlier build would send these pods the engines' key.
    """
    port_name: str = ""
    """What the Service's port is called: its pods may have others."""

    @property
    def key_file(self) -> str:
        """What the file of a key for this address is called, or of authorities, of one version's."""
        address = f"{self.scheme}://{self.host}:{self.port}{self.path}"
        return hashlib.sha256(address.encode()).hexdigest()[:16]

    @property
    def authority(self) -> str:
        """The host as it is asked for."""
        default = 443 if self.scheme == "https" else 80
        return self.host if self.port == default else f"{self.host}:{self.port}"


class BackendReport(_Told):
    """How one router found a backend."""

    problem: str = Field(default="", max_length=40)
    """A BackendProblem; nothing where it answers."""
    message: str = Field(default="", max_length=600)
    """What that means there, in words; no key stands in it."""
    asked: str = Field(default="", max_length=64)
    """The digest of the Target that was asked: another of the same version says nothing of this one."""


class BackendReports(_Told):
    """What one router tells of its backends, by version."""

    backends: dict[str, BackendReport] = {}


class Target(_Part):
    """One version's Service, or backend."""

    host: str
    """Empty, as is the port, for a backend: so a router of an earlier build sends it no engine's key."""
    port: int
    model: str
    """The name that its engine knows the version by."""
    public: str = ""
    """The name of the model, where all its pods know that, too: a request for it goes on as it is."""
    service: str | None = None
    """The Service's name: its EndpointSlices say which pods are asked. Without any, host and port are."""
    backend: BackendTarget | None = None
    wakes_after: int | None = None
    """Where it may have no pods, which a request starts: in how many seconds one is there. None where it always has."""

    def digest(self) -> str:
        """By which a router says what it asked of a backend."""
        return digest_of_target(self.model_dump())


class VariantRoute(_Part):
    """One arm: the buckets from the previous arm's `up_to` to this one's."""

    name: str
    target: str
    up_to: int


class KeyRoute(_Part):
    """Where a request may name its user."""

    kind: Literal["header", "cookie", "body"]
    name: str


class LayerRoute(_Part):
    """The users whom one experiment of several has: those from one bucket of the layer's salt to before another."""

    salt: str
    begin: int
    end: int


class OverrideRoute(_Part):
    """By which header testers choose their variant, and who they are."""

    header: str
    users: list[str]


class ShadowRoute(_Part):
    """What a router copies of what the control is asked, and how much of that a challenger is asked at most.

    A router of an earlier build ignores it, and copies nothing: nobody is sent elsewhere.
    """

    percent: int
    """Of the requests, drawn one by one."""
    per_second: int
    """Of one router, as what follows."""
    in_flight: int
    seconds: int
    """After which a copy is given up."""


class ScoresRoute(_Part):
    """Where a router hands answers on that are scored, and of which share it does.

    A router of an earlier build ignores it, and hands nothing on: nobody is sent elsewhere.
    """

    percent: int
    """Of the answers of those who take part, by their ids."""
    host: str
    port: int


class ExperimentRoute(_Part):
    """How one experiment assigns users."""

    name: str
    uid: str
    salt: str
    keys: list[KeyRoute]
    """What may name the user, in order of preference."""
    control: str
    variants: list[VariantRoute]
    covered: int = BUCKETS
    """Users whose second place is below take part."""
    epoch: int = 0
    """The step of its ramp, from 1; 0 without a ramp."""
    layer: LayerRoute | None = None
    """Without one, all users are its own."""
    override: OverrideRoute | None = None
    shadow: ShadowRoute | None = Field(default=None, exclude_if=lambda shadow: shadow is None)
    """Where challengers get copies alone; then nobody takes part. Other tables are as an earlier build writes them."""
    scores: ScoresRoute | None = Field(default=None, exclude_if=lambda scores: scores is None)
    """Where answers are scored; other tables are as an earlier build writes them."""
    fallback: str | None = Field(default=None, exclude_if=lambda fallback: fallback is None)
    """Which variant answers in `control`'s place where that is a winner that bakes, as `control` does in others'.

    A router of an earlier build ignores it: nobody answers there in the winner's place.
    """

    @property
    def is_plain(self) -> bool:
        """Whether a router of an earlier build does the same, which knows nothing but headers."""
        is_whole = self.covered == BUCKETS and not self.epoch and self.layer is None and self.override is None
        is_whole = is_whole and self.shadow is None
        return is_whole and all(key.kind == "header" for key in self.keys)

    def assigned(self, user: str) -> tuple[str, bool] | None:
        """Return a user's variant and whether they take part, which testers do not; None of whom it does not have.

        The router's Lua computes the same.
        """
        if self.layer and not self.layer.begin <= bucket(self.layer.salt, user) < self.layer.end:
            return None
        own, second = places(self.salt, user)
        if second >= self.covered:
            return self.control, False
        variant = next(variant.name for variant in self.variants if own < variant.up_to)
        return variant, not (self.override and user in self.override.users)


class ModelRoute(_Part):
    """Where requests for one model name go."""

    default: str | None
    """The target without an experiment; None until a version holds `production`."""
    named: dict[str, str]
    """Targets by what stands behind `@`: a version's number, or an alias."""
    experiments: list[ExperimentRoute] = []
    """Several have users of one layer, each its own, and name them by the same keys."""

    @property
    def is_plain(self) -> bool:
        """Whether a router of an earlier build does the same."""
        return len(self.experiments) < 2 and all(experiment.is_plain for experiment in self.experiments)


class Stamp(_Part):
    """Which table it is: how a router says what it has applied, and how none goes back to an older one."""

    lineage: str = Field(max_length=40)
    """When its ConfigMap's first table was written (RFC 3339, UTC): one that is begun anew comes after the old."""
    generation: int = Field(ge=1, le=10**12)
    """It rises by one with each change of content."""
    digest: str = Field(max_length=64)
    """The content's address."""

    @property
    def order(self) -> tuple[str, int]:
        """Tables are applied in this order, and never back."""
        return self.lineage, self.generation


class RouteTable(_Part):
    """All that a namespace's routers know."""

    targets: dict[str, Target]
    models: dict[str, ModelRoute]

    def digest(self) -> str:
        """A content address, by which the router says what it has applied."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def stamped(self, lineage: str, generation: int) -> Stamp:
        """Return what this table is called as a generation of a lineage."""
        return Stamp(lineage=lineage, generation=generation, digest=self.digest())

    @property
    def format(self) -> int:
        """The first in which it can be told, so that routers of an earlier build read what they can obey."""
        return PLAIN_FORMAT if all(route.is_plain for route in self.models.values()) else FORMAT

    def document(self, stamp: Stamp) -> dict[str, Any]:
        """What the router reads."""
        told = {"format": self.format, **stamp.model_dump(), **self.model_dump()}
        if self.format == PLAIN_FORMAT:
            told["models"] = {name: _plain(route) for name, route in told["models"].items()}
        return told

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "RouteTable":
        """Return the table of a document of any format; raise an error of one that this build would not write."""
        models = document["models"]
        if document.get("format") == PLAIN_FORMAT:
            models = {name: _of_plain(route) for name, route in models.items()}
        return cls(targets=document["targets"], models=models)


_PLAIN_FIELDS = ("name", "uid", "salt", "control", "variants")


def _plain(route: Mapping[str, Any]) -> dict[str, Any]:
    """A model's route as the first format has it: one experiment at most, whose users headers name."""
    split = next(iter(route["experiments"]), None)
    told = split and {
        **{name: split[name] for name in _PLAIN_FIELDS},
        "headers": [key["name"] for key in split["keys"]],
        **{name: split[name] for name in ("fallback", "scores") if split.get(name)},
    }
    return {"default": route["default"], "named": route["named"], "experiment": told}


def _of_plain(route: Mapping[str, Any]) -> dict[str, Any]:
    split = route.get("experiment")
    keys = [{"kind": "header", "name": name} for name in split["headers"]] if split else []
    own = {name: value for name, value in route.items() if name != "experiment"}
    rest = {name: value for name, value in split.items() if name != "headers"} if split else {}
    return {**own, "experiments": [{**rest, "keys": keys}] if split else []}


def covered(coverage: int, holdout: int = 0) -> int:
    """The second place before which users take part, at a coverage and without a share that is held out, in percent.

    More coverage leaves whoever took part where they were; and as it looks at another place than the variants do, these
    have the same shares at each.
    """
    return (BUCKETS - BUCKETS // 100 * holdout) * coverage // 100


def boundaries(weights: Sequence[int]) -> list[int]:
    """The bucket before which each variant's users end, in the order of the variants; none is left without any."""
    ends, last = list[int](), BUCKETS - len(weights) + 1
    for number, end in enumerate(accumulate(weights)):
        before = ends[-1] if ends else 0
        ends.append(min(max(BUCKETS * end // sum(weights), before + 1), last + number))
    return ends


def bucket(salt: str, user: str) -> int:
    """The user's bucket, 0 to 9,999: the first 32 bits of SHA-1 of `salt:user`, modulo 10,000.

    The router's Lua computes the same. Not CRC32, which is linear: two experiments' splits would be correlated.
    """
    return places(salt, user)[0]


def places(salt: str, user: str) -> tuple[int, int]:
    """The user's bucket, and their second place, by which a ramp takes users in: the same of the next 32 bits.

    Apart from each other, so that however few take part, the variants have exactly their shares of them.
    """
    digest = hashlib.sha1(f"{salt}:{user}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % BUCKETS, int.from_bytes(digest[4:8], "big") % BUCKETS


def weights_folder(digest: str) -> str:
    """Return what the folder of an artifact is called among others."""
    return digest.replace(":", "-")
