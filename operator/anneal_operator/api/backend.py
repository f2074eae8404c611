"""A server that is no engine of ours: another vLLM, KServe, or a hosted API, as a version of a model."""

import re
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from .schema import ObjectName, Rule, Schema, SubdomainName, immutable

__all__ = ["ApiKey", "Backend", "CaCertificates", "SecretKey", "ServiceReference"]

_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"  # up to 65535
_SEGMENTS = r"(/[-A-Za-z0-9._~]+)*"
_Url = Annotated[
    str,
    StringConstraints(
        max_length=500, pattern=rf"^https?://[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?(:({_PORT}))?{_SEGMENTS}$"
    ),
]
_Path = Annotated[str, StringConstraints(max_length=200, pattern=rf"^{_SEGMENTS}$")]
_Model = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-A-Za-z0-9._:/@+]+$")]
_Key = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$")
]  # a file's name, too
_UP = "(^|/)[.][.]?(/|$)"
_OWN = r"^https?://(localhost|[^/:]*[.]localhost|0+[.][^/:]*|127[.][^/:]*|169[.]254[.][^/:]*|[0-9]+|0x[^/:]*)(:|/|$)"
"""What leads into the router's own pod, to its node's metadata, or is an address that is written as nobody does."""
_BY_NUMBER = "^https://[0-9.]+(:|/|$)"
_KEYS = _ROUTER = "anneal-router"
"""The Secret of the namespace's own keys, and the Service of its routers."""


def _goes_nowhere_else(path: str) -> bool:
    return re.search(_UP, path) is None


class ServiceReference(Schema):
    """A Service of this namespace, whose pods speak as OpenAI's API does, over HTTP."""

    name: ObjectName
    """Its name."""
    port: int = Field(ge=1, le=65535)
    """The Service's port."""
    path: _Path = "/v1"
    """Where that API is, as clients' `base_url` has it behind the host: `/openai/v1` of KServe's own runtime."""

    rules: ClassVar = (
        Rule(
            f"!self.path.matches('{_UP}')",
            "`path` leads elsewhere: leave `..` and `.` out",
            lambda service: _goes_nowhere_else(service.path),
        ),
        Rule(
            f"self.name != '{_ROUTER}'",
            f"the Service `{_ROUTER}` is the routers' own, which would ask themselves: name that of another server",
            lambda service: service.name != _ROUTER,
        ),
    )


class SecretKey(Schema):
    """One key of a Secret of this namespace."""

    name: SubdomainName
    """The Secret's name."""
    key: _Key
    """The key in it."""

    rules: ClassVar = (
        Rule(
            f"self.name != '{_KEYS}'",
            f"the Secret `{_KEYS}` has the namespace's own keys, which nobody else is told: name one of your own",
            lambda secret: secret.name != _KEYS,
        ),
    )


class ApiKey(Schema):
    """What a backend demands of whoever asks it."""

    secret_key_ref: SecretKey
    """Where it is. Routers mount it, and nobody else reads it."""


class CaCertificates(Schema):
    """Certificate authorities, as PEM in a ConfigMap of this namespace: Gateway API has them so, too."""

    name: SubdomainName
    """The ConfigMap's name."""
    key: _Key = "ca.crt"
    """The key in it."""


class Backend(Schema):
    """A server of yours that answers as this version, in place of an engine of ours."""

    service_ref: ServiceReference | None = None
    """A Service of this namespace."""
    url: _Url | None = None
    """The API's `base_url`, as clients have it: `https://api.example.com/v1`. Of https:// the certificate is verified.
    The chart's `server.backends` says which are taken: none, unless an installation names them.
    """
    api_key: ApiKey | None = None
    """Sent as `Authorization: Bearer KEY`, in place of whatever a client sent."""
    ca_certificate_ref: CaCertificates | None = None
    """Who vouches for this backend's certificate, in place of the public authorities and the installation's, and for no
    other backend's. Of https:// alone.
    """
    model: _Model | None = None
    """The name by which it knows the model; `modelName` where it is left out."""

    rules: ClassVar = (
        Rule(
            "has(self.serviceRef) != has(self.url)",
            "a backend is in one place: set either `serviceRef` or `url`",
            lambda backend: (backend.service_ref is None) != (backend.url is None),
        ),
        Rule(
            "!has(self.apiKey) || !has(self.url) || self.url.startsWith('https://')",
            "`apiKey` would be sent in the clear to http://: set `url` to one of https://, or leave `apiKey` out",
            lambda backend: backend.api_key is None or backend.url is None or backend.url.startswith("https://"),
        ),
        Rule(
            "!has(self.caCertificateRef) || (has(self.url) && self.url.startsWith('https://'))",
            "`caCertificateRef` is for certificates, which http:// has none of: set `url` to one of https://, or leave "
            "`caCertificateRef` out",
            lambda backend: backend.ca_certificate_ref is None or (backend.url or "").startswith("https://"),
        ),
        Rule(
            f"!has(self.url) || !self.url.matches('{_OWN}')",
            "`url` leads to the router's own pod or to its node: name the host of a backend",
            lambda backend: backend.url is None or re.search(_OWN, backend.url) is None,
        ),
        Rule(
            f"!has(self.url) || !self.url.matches('{_BY_NUMBER}')",
            "the certificate of an https:// `url` is verified by its host's name: write that in place of the address",
            lambda backend: backend.url is None or re.search(_BY_NUMBER, backend.url) is None,
        ),
        Rule(
            f"!has(self.url) || !self.url.matches('{_UP}')",
            "`url` leads elsewhere: leave `..` and `.` out of its path",
            lambda backend: backend.url is None or _goes_nowhere_else(backend.url),
        ),
        immutable("serviceRef", "a version is what answers as it; create another ModelVersion"),
        immutable("url", "a version is what answers as it; create another ModelVersion"),
        immutable("model", "a version is what answers as it; create another ModelVersion"),
    )

    @property
    def address(self) -> str:
        """Where it is; of a Service, within its namespace."""
        if self.service_ref is None:
            return self.url or ""
        return f"http://{self.service_ref.name}:{self.service_ref.port}{self.service_ref.path}"
