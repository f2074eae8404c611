"""Requests by the task API's own OpenAPI page, and such as break it, get no server's error."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from .task_stand import TaskStand, task_stand

PATHS = ["/models/{model}/predict", "/models/{model}/chat", "/models/{model}/batch"]
TOLD = {200, 400, 404, 413, 422}
TIMES = 10


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskStand]:
    with task_stand(tmp_path_factory.mktemp("tasks")) as made:
        yield made


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", PATHS)
def test_what_is_asked_by_the_page_or_against_it_is_answered_or_refused(
    api: TaskStand, path: str, mode: GenerationMode
) -> None:
    described = schemathesis.openapi.from_dict(api.ask("/openapi.json").json)

    def check(case: Case[Any]) -> None:
        try:
            body = json.dumps(case.body).encode() if not isinstance(case.body, bytes) else case.body
        except TypeError:  # there is none
            body = b""
        at = path.replace("{model}", "mails")
        answer = api.router.ask(at, body, method="POST", Content_Type="application/json")
        assert answer.status in TOLD, answer.content
        if answer.status != 200:
            assert answer.error

    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    often = settings(deadline=None, derandomize=True, max_examples=TIMES, database=None, suppress_health_check=slow)
    often(given(described[path]["POST"].as_strategy(mode))(check))()


def test_every_answer_on_the_page_has_an_example_that_it_describes(api: TaskStand) -> None:
    document = api.ask("/openapi.json").json
    for name in ("Predict", "Chat", "Batch"):
        [example] = document["components"]["schemas"][name]["examples"]
        path = f"/models/{'claims' if 'input_categories' in example else 'mails'}/{name.lower()}"
        answer = api.ask(path, {**example, "max_new_tokens": 100})
        assert (answer.status, answer.json["success"]) == (200, True), answer.content
