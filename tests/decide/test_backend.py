"""How a backend stands, by what routers found."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from anneal_operator.api.model_version import ModelVersionSpec, ModelVersionStatus, Registry
from anneal_operator.decide.backend import backend_standing, url_refusal
from anneal_operator.decide.model_version import GiveProduction, decide
from anneal_operator.decide.observed_version import ObservedVersion
from serving_runtime.plan import BackendReport

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FINE = BackendReport()
AWAY = BackendReport(problem="Unreachable", message="it is away")
KEYLESS = BackendReport(problem="KeyMissing", message="no key")
FIRST = ModelVersionStatus()
REGISTRY = Registry(version="3", url="u", aliases=["production"])


def _before(phase: str) -> ModelVersionStatus:
    seen = _seen([FINE, FINE] if phase == "Ready" else [FINE, AWAY])
    first = decide(_seen([FINE, FINE]), NOW).status
    return first if phase == "Ready" else decide(replace(seen, previous=first), NOW).status


def _seen(told: list[BackendReport | None], **fields: Any) -> ObservedVersion:
    spec = ModelVersionSpec.parse({"modelName": "m", "backend": {"serviceRef": {"name": "vllm", "port": 80}}})
    return ObservedVersion("v", 1, spec, FIRST, registered=REGISTRY, aliases={}, backend_told=told, **fields)


@pytest.mark.parametrize(
    ("before", "told", "phase", "reason"),
    [
        ("", [], "Loading", "BackendNotAsked"),
        ("", [None, None], "Loading", "BackendNotAsked"),
        ("", [FINE, None], "Loading", "BackendNotAsked"),
        ("", [FINE, KEYLESS], "Loading", "BackendNotAsked"),
        ("", [FINE, FINE], "Ready", "Answers"),
        ("", [AWAY, AWAY], "Failed", "BackendAway"),
        ("", [KEYLESS, None], "Failed", "BackendKeyMissing"),
        ("", [BackendReport(problem="KeyRefused", message="m")], "Failed", "BackendKeyRefused"),
        ("", [BackendReport(problem="AuthoritiesMissing", message="m")], "Failed", "BackendAuthoritiesMissing"),
        ("", [BackendReport(problem="ModelUnknown", message="m")], "Failed", "BackendModelUnknown"),
        ("", [BackendReport(problem="AddressRefused", message="m")], "Failed", "BackendRefused"),
        ("", [BackendReport(problem="OfANewerRouter", message="m")], "Failed", "BackendAway"),
        ("Ready", [FINE, None], "Ready", "Answers"),
        ("Ready", [None, None], "Ready", "Answers"),
        ("Ready", [], "Ready", "Answers"),
        ("Ready", [FINE, AWAY], "Degraded", "SomeAnswer"),
        ("Ready", [AWAY, AWAY], "Failed", "BackendAway"),
        ("Degraded", [None, None], "Degraded", "SomeAnswer"),
        ("Degraded", [FINE, FINE], "Ready", "Answers"),
    ],
)
def test_it_stands_as_routers_found_it(before: str, told: list[BackendReport | None], phase: str, reason: str) -> None:
    found, ready = backend_standing(told, _before(before) if before else FIRST)
    assert (found, ready.reason) == (phase, reason)
    assert ready.status == ("True" if phase == "Ready" else "False")


def test_the_first_router_that_is_not_answered_says_why() -> None:
    _, ready = backend_standing([FINE, AWAY, None], _before("Ready"))
    assert ready.message == "the backend answers 1 of 3 routers: it is away"


def test_it_has_no_pods_and_is_given_production_once_it_answers() -> None:
    verdict = decide(_seen([FINE], endpoint="http://router"), NOW)
    status = verdict.status
    assert (status.phase, status.replicas, status.ready_replicas, status.endpoint) == ("Ready", 0, 0, "http://router")
    assert (verdict.apply, verdict.delete, verdict.effects) == ((), (), (GiveProduction("3"),))
    assert status.condition("Loaded") is None
    assert verdict.again == 5.0
    assert decide(_seen([AWAY]), NOW).effects == ()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"source_refusal": "it is not taken"}, "SourceRefused"), ({"service_problem": "there is none"}, "BackendAway")],
)
def test_what_is_wrong_with_its_address_comes_first(fields: dict[str, str], reason: str) -> None:
    status = decide(_seen([FINE], **fields), NOW).status
    ready = status.condition("Ready")
    assert ready is not None
    assert (status.phase, ready.reason, ready.message) == ("Failed", reason, next(iter(fields.values())))


@pytest.mark.parametrize(
    ("url", "allowed", "is_taken"),
    [
        (None, [], True),
        ("https://api.example.com/v1", [], False),
        ("https://api.example.com/v1", ["https://api.example.com/"], True),
        ("https://api.example.com", ["https://api.example.com/"], True),
        ("https://api.example.com/v1", ["https://api.example.com/v1/"], True),
        ("https://api.example.com/v10", ["https://api.example.com/v1/"], False),
        ("https://api.example.com.evil.example/v1", ["https://api.example.com/"], False),
        ("https://api.example.com.evil.example/v1", ["https://api.example.com"], False),
        ("https://api.example.com/v1", ["https://api.example.com"], True),
        ("https://api.example.com:8443/v1", ["https://api.example.com/"], False),
        ("http://api.example.com/v1", ["https://api.example.com/"], False),
    ],
)
def test_a_backend_elsewhere_is_asked_where_the_installation_says_so(
    url: str | None, allowed: list[str], is_taken: bool
) -> None:
    said = url_refusal(url, allowed)
    assert (not said) == is_taken
    if not is_taken:
        assert "`server.backends`" in said
