"""The task API behind the real router: what clients ask, what models are asked for it, and what is counted."""

from collections.abc import Iterator

import pytest

from .task_stand import TaskStand, task_stand


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskStand]:
    with task_stand(tmp_path_factory.mktemp("tasks")) as made:
        yield made


def test_a_task_is_asked_as_in_training_and_answered(stand: TaskStand) -> None:
    stand.engine.asked.clear()
    answer = stand.ask("/models/mails/predict", {"input_text": "무료 쿠폰!"}, X_User_Id="u1")
    assert answer.status == 200, answer.content
    assert answer.json == {
        "success": True,
        "confidence_score": pytest.approx(0.5),
        "raw_response": '{"action":"BLOCK"}',
        "parsed_response": {"action": "BLOCK"},
        "error": None,
        "truncated": False,
    }
    assert answer.headers["x-exposure-id"]


def test_a_batch(stand: TaskStand) -> None:
    print(stand.ask("/").json, stand.ask("/health").json)
    print(stand.ask("/docs").content[:600], stand.ask("/openapi.json").json["paths"].keys())
    print(stand.ask("/models/claims/batch", {"inputs": [{"input_text": "바퀴"}, {"input_text": "!!"}]}).json)
    print(stand.engine.asked[-3:])
    print(stand.ask("/models/claims/predict", {"input_text": "가" * 1_000_000, "max_new_tokens": 100}).json)
    print(stand.ask("/predict", {"input_text": "가"}).json)
    assert 0
