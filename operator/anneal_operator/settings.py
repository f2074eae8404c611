"""The installation's settings: environment variables `ANNEAL_…`, set by the Helm chart."""

import socket
import uuid
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from serving_runtime.plan import ANY_ENDPOINT

__all__ = ["Settings"]

_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What differs from one installation to the next."""

    model_config = SettingsConfigDict(env_prefix="ANNEAL_", frozen=True)

    namespace: str
    """Where the operator itself runs."""
    identity: str = Field(default_factory=lambda: f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}")
    """What no other living operator calls itself: the pod's name, by which the leader's is labelled."""
    trainer_image: str
    """The image of a FineTuneJob's stages."""
    server_image: str
    """The image that serves a model."""
    router_image: str
    """The image of a namespace's router."""
    image_pull_policy: str = "IfNotPresent"
    """For the three images above."""
    mlflow_url: str
    """MLflow, as pods reach it."""
    mlflow_shared: bool = False
    """Whether namespaces may write to each other's registered models."""
    mlflow_public_url: str = ""
    """MLflow, as people's browsers reach it; the pods' URL where it is empty."""
    progress_host: str
    """The name under which training pods reach the leader; the certificate is made out to it."""
    progress_port: int = Field(default=8443, ge=1, le=65535)
    """The port of the progress endpoint."""
    artifact_sources: list[str] = ["mlflow-artifacts:/", "pvc://"]
    """How the addresses of artifacts begin that are served, as JSON."""
    backend_urls: list[str] = []
    """How the addresses of backends outside their namespaces begin that may be asked, as JSON."""
    keda_triggers: list[str] = []
    """The types of triggers by which KEDA may scale versions, as JSON: it asks whom these name, with their Secrets."""
    artifact_endpoints: list[str] = list(ANY_ENDPOINT)
    """How the addresses of hubs and of S3 begin that artifacts are read from, as JSON."""
    authorities_config_map: str = ""
    """A ConfigMap of each namespace with certificate authorities that downloads and routers trust, if any."""
    authorities_key: str = "ca.crt"
    """Its key that holds them."""
    server_environment: dict[str, str] = {}
    """More environment variables for pods that serve, as JSON."""
    gateways: list[dict[str, Any]] = []
    """The Gateways that lead to routers, as JSON: an HTTPRoute's `parentRefs`. Without any, there is no HTTPRoute."""
    gateway_hostnames: list[str] = []
    """By which hosts, as JSON; in each, `{namespace}` stands for the router's."""
    price_per_gpu_hour: _Price | dict[str, _Price] | None = None
    """What a GPU costs, as JSON: one price of whole GPUs, or by the resource's name; nothing is a price of none."""
    scrapers: list[dict[str, Any]] = []
    """Who may scrape metrics of routers and engines, as JSON: peers of a NetworkPolicy."""
