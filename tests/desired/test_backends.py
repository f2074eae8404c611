"""A backend as routers are told of it."""

from typing import Any

import pytest

from anneal_operator.api.backend import Backend
from anneal_operator.desired.backends import asked_backend, service_problem

SERVICE = {"spec": {"ports": [{"name": "metrics", "port": 9090}, {"name": "http", "port": 80}, {"port": 81}]}}


def _asked(spec: dict[str, Any], service: dict[str, Any] | None = None) -> tuple[str, int, str, str]:
    asked = asked_backend("team", "v", Backend.parse(spec), "m", service)
    return (
        f"{asked.target.scheme}://{asked.target.authority}",
        asked.target.port,
        asked.target.path,
        asked.target.port_name,
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"url": "https://api.example.com/v1"}, ("https://api.example.com", 443, "/v1", "")),
        ({"url": "https://api.example.com:8443"}, ("https://api.example.com:8443", 8443, "", "")),
        ({"url": "http://10.0.0.7/v1"}, ("http://10.0.0.7", 80, "/v1", "")),
        ({"serviceRef": {"name": "vllm", "port": 80}}, ("http://vllm.team.svc", 80, "/v1", "http")),
        ({"serviceRef": {"name": "vllm", "port": 81}}, ("http://vllm.team.svc:81", 81, "/v1", "")),
        ({"serviceRef": {"name": "vllm", "port": 82, "path": ""}}, ("http://vllm.team.svc:82", 82, "", "")),
    ],
)
def test_it_is_asked_where_it_is(spec: dict[str, Any], told: tuple[str, int, str, str]) -> None:
    assert _asked(spec, SERVICE) == told


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (SERVICE, ""),
        (None, "there is no Service vllm"),
        ({"spec": {"type": "ExternalName", "externalName": "metadata"}}, "which has no pods"),
        ({"spec": {"ports": [{"port": 8080}]}}, "has the ports 8080, and not 80"),
    ],
)
def test_a_service_that_cannot_be_asked_is_told(service: dict[str, Any] | None, said: str) -> None:
    backend = Backend.parse({"serviceRef": {"name": "vllm", "port": 80}})
    assert backend.service_ref is not None
    found = service_problem(backend.service_ref, service)
    assert said in found
    assert bool(found) == bool(said)


def test_a_key_is_called_by_the_version_and_by_where_it_goes() -> None:
    """So that routers that mount it send it nowhere else, and go on with it until they mount another for that place."""

    def file_of(version: str, url: str, secret: str) -> str:
        key = {"secretKeyRef": {"name": secret, "key": "token"}}
        return asked_backend("team", version, Backend.parse({"url": url, "apiKey": key}), "m", None).target.key

    first = file_of("v", "https://a.example.com/v1", "one")
    assert first.startswith("v/")
    assert file_of("v", "https://a.example.com/v1", "two") == first
    others = [("w", "https://a.example.com/v1"), ("v", "https://b.example.com/v1"), ("v", "https://a.example.com/v2")]
    assert len({first, *(file_of(version, url, "one") for version, url in others)}) == 4
