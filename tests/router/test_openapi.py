"""Requests by vLLM's own description of its interface, and such as break it, are passed on or refused."""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode

from .bodies import agrees, status_of
from .openapi import PATHS, VERSION, document, trimmed
from .wire import Wire, is_error, post

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
FEW, MANY = 25, 100
MODELS = st.sampled_from(["known", "known", "plain", "known@1", "nobody", None])


QUICK = [
    ("/v1/completions", GenerationMode.POSITIVE),
    ("/v1/completions", GenerationMode.NEGATIVE),
    ("/v1/responses", GenerationMode.POSITIVE),
    ("/detokenize", GenerationMode.POSITIVE),
    ("/detokenize", GenerationMode.NEGATIVE),
]
"""For the others schemathesis needs minutes: what chats may consist of is hundreds of schemas."""
SWEEP = [
    pytest.param(path, mode, MANY, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])
    for path in PATHS
    for mode in GenerationMode
]


@cache
def _described() -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_dict(document())


def test_the_copy_is_of_the_engine_that_is_served_and_needs_no_trimming() -> None:
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    assert f"vllm=={VERSION}" in extras["serve"]
    kept = document()
    assert set(kept["paths"]) == set(PATHS)
    assert trimmed(kept, VERSION) == kept


@pytest.mark.parametrize(("path", "mode", "times"), [*((*quick, FEW) for quick in QUICK), *SWEEP])
def test_what_is_asked_by_the_book_or_against_it_is_passed_on_or_refused(
    wire: Wire, path: str, mode: GenerationMode, times: int
) -> None:
    def check(case: Case[Any], model: str | None) -> None:
        body = _written(case.body, model)
        wire.send(post(body, path))
        answer = wire.answer()
        assert answer.status == status_of(body, path), answer.content
        if answer.status == 200:
            assert agrees(body, answer.echoed.encode(), path)
        else:
            assert is_error(answer)

    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    often = settings(
        deadline=None, derandomize=times == FEW, max_examples=times, database=None, suppress_health_check=slow
    )
    operation = _described()[path]["POST"]
    often(given(operation.as_strategy(mode), MODELS)(check))()
    wire.assert_sound()


def _written(body: Any, model: str | None) -> bytes:
    """The body, for a model that there is, where one is to be named."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, dict) and model:
        body = {**body, "model": model}
    try:
        return json.dumps(body).encode()
    except TypeError:  # there is none
        return b""
