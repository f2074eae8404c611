"""The weights of a ModelVersion: where they are, and what they are held to."""

import re
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from training_runtime.plan import ArtifactFormat

from .schema import CHARACTER, WORD, LocalReference, Rule, Schema

__all__ = ["MLFLOW", "MOUNTED", "Artifact", "ArtifactBase"]

_Uri = Annotated[
    str,
    StringConstraints(
        max_length=1000,
        pattern=r"^(mlflow-artifacts:/[-A-Za-z0-9._/]+"
        rf"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/{CHARACTER}+|s3://{WORD}+/{CHARACTER}+"
        rf"|hf://{WORD}+/{WORD}+(@{WORD}+)?(/{CHARACTER}+)?"
        r"|oci://[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?/[a-z0-9][-a-z0-9._/]*(:[A-Za-z0-9_][-A-Za-z0-9._]{0,127})?"
        r"(@sha256:[0-9a-f]{64})?)$",
    ),
]
MLFLOW = "mlflow-artifacts:/"
_MlflowUri = Annotated[str, StringConstraints(max_length=1000, pattern=rf"^{MLFLOW}[-A-Za-z0-9._/]+$")]
MOUNTED = ("pvc://", "oci://")
"""How artifacts begin that are mounted as they are; others are downloaded."""
_NO_FOLDER = "^mlflow-artifacts://|^[-a-z0-9]+:/.*//|[/@][.][.]?([/@]|$)"
_WITH_CREDENTIALS = ("hf://", "s3://")
_Digest = Annotated[str, StringConstraints(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]

_NO_WAY_ELSEWHERE = Rule(
    f"!self.uri.matches('{_NO_FOLDER}')",
    "`uri` names a folder without leading elsewhere: leave `..`, `.` and empty names out",
    lambda artifact: re.search(_NO_FOLDER, artifact.uri) is None,
)


class ArtifactBase(Schema):
    """The model that an adapter was trained on."""

    uri: _MlflowUri
    """Its folder in MLflow's artifact store."""
    digest: _Digest
    """Digest of that folder's manifest; a server refuses to start on anything else."""
    bytes: int | None = Field(default=None, ge=1, le=1 << 50)
    """The size of its files: how long an engine may take to start is reckoned from it, and how much of its node's disk
    a pod asks for where `serving.cache` keeps nothing.
    """

    rules: ClassVar = (_NO_WAY_ELSEWHERE,)


class Artifact(Schema):
    """The weights."""

    uri: _Uri
    """A folder with a `manifest.json`, in which a complete Transformers model in safetensors is, or an adapter:
    `mlflow-artifacts:/PATH` in MLflow's store, `pvc://CLAIM/PATH`, `s3://BUCKET/PREFIX`, `hf://OWNER/NAME[@REVISION][/PATH]`
    on a hub, or `oci://IMAGE`, an image that holds nothing else. The chart's `server.sources` says which are taken.
    """
    secret_ref: LocalReference | None = None
    """The Secret with the credentials of `hf://` (`HF_TOKEN`, `HF_ENDPOINT`) or `s3://` (`AWS_ACCESS_KEY_ID`,
    `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL`, `AWS_REGION`). Those of an image are
    `serving.podTemplate.imagePullSecrets`.
    """
    format: ArtifactFormat
    """What it is: an adapter, without its base; a base with its adapter merged in; or all weights trained."""
    digest: _Digest
    """Digest of the folder's manifest; a server refuses to start on anything else."""
    bytes: int | None = Field(default=None, ge=1, le=1 << 50)
    """The size of its files: how long an engine may take to start is reckoned from it, and how much of its node's disk
    a pod asks for where `serving.cache` keeps nothing.
    """
    base: ArtifactBase | None = None
    """Of an adapter, what it was trained on: needed to serve it with `serving.sharing: SharedBase`."""

    rules: ClassVar = (
        _NO_WAY_ELSEWHERE,
        Rule(
            "!has(self.secretRef) || self.uri.matches('^(hf|s3)://')",
            "only hf:// and s3:// sources read credentials: leave `secretRef` out",
            lambda artifact: artifact.secret_ref is None or artifact.uri.startswith(_WITH_CREDENTIALS),
        ),
        Rule(
            "!has(self.base) || self.format == 'Adapter'",
            "`base` is what an adapter was trained on: leave it out, or set `format: Adapter`",
            lambda artifact: artifact.base is None or artifact.format == "Adapter",
        ),
    )
