"""The task API behind the real router: what clients ask, what models are asked for it, and what is counted."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from serving_runtime.plan import TaskTable, bucket
from tests.support.tasks import write_rules

from .stand import SALT
from .task_engine import LONGEST, SURE
from .task_stand import CLAIMS, DICTIONARY, TaskStand, task_stand

PREDICT, CHAT, BATCH = "/models/mails/predict", "/models/mails/chat", "/models/mails/batch"
CLAIM = "/models/claims/predict"
ROOM = LONGEST - 100
HERS = {arm: next(f"u{n}" for n in range(99) if (bucket(SALT, f"u{n}") < 5000) == first) for arm, first in
        (("stable", True), ("tuned", False))}  # fmt: skip


@pytest.fixture(scope="module")
def standing_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskStand]:
    with task_stand(tmp_path_factory.mktemp("tasks")) as made:
        yield made


@pytest.fixture
def api(standing_api: TaskStand) -> TaskStand:
    standing_api.engine.begin_anew()
    return standing_api


def _asked(text: str = "안녕하세요", **more: Any) -> dict[str, Any]:
    return {"input_text": text, "max_new_tokens": 100, **more}


def test_a_task_is_answered_with_how_sure_the_model_was(api: TaskStand) -> None:
    answer = api.ask(PREDICT, _asked("무료 쿠폰"), X_User_Id=HERS["stable"])
    assert answer.json == {
        "success": True,
        "confidence_score": pytest.approx(SURE),
        "raw_response": '{"action":"BLOCK"}',
        "parsed_response": {"action": "BLOCK"},
        "error": None,
        "truncated": False,
    }
    assert len(answer.headers["x-exposure-id"]) == 32


def test_confidence_is_asked_of_the_version_that_answered_with_the_tokens_of_both_and_counts_as_nothing_of_its_own(
    api: TaskStand,
) -> None:
    answer = api.ask(PREDICT, _asked("가"), X_User_Id=HERS["tuned"])
    [second] = api.engine.bodies("/v1/completions")
    prompt, said = "<user>가<assistant>", answer.json["raw_response"]
    assert second == {
        "model": "two",
        "prompt": [*map(ord, prompt + said)],
        "max_tokens": 1,
        "prompt_logprobs": 0,
    }
    record = api.router.record_of(answer.headers["x-exposure-id"])
    assert (record["version"], record["variant"], record["experiment"]) == ("two", "tuned", "uid")
    later = api.ask(PREDICT, _asked(confidence=False), X_User_Id=HERS["tuned"])
    api.router.record_of(later.headers["x-exposure-id"])
    assert {line["kind"] for line in api.router.records() if line["status"] == 200} == {"chat"}


def test_confidence_costs_nothing_where_it_is_turned_off(api: TaskStand) -> None:
    answer = api.ask(PREDICT, _asked(confidence=False))
    assert (answer.status, answer.json["confidence_score"]) == (200, None)
    assert not api.engine.bodies("/v1/completions")
    assert "return_token_ids" not in api.engine.bodies("/v1/chat/completions")[0]


@pytest.mark.parametrize("headers", [{"X_User_Id": HERS["tuned"]}, {}])
def test_a_user_is_named_by_a_header_or_in_the_body(api: TaskStand, headers: dict[str, str]) -> None:
    more = {} if headers else {"user": HERS["tuned"]}
    answer = api.ask(PREDICT, _asked(**more), **headers)
    assert (answer.headers["x-anneal-version"], answer.headers["x-anneal-variant"]) == ("two", "tuned")
    assert {body["model"] for _, body in api.engine.asked} == {"mails", "two"}


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("max_new_tokens", 1, 200),
        ("max_new_tokens", 0, 422),
        ("max_new_tokens", 2048, 422),
        ("max_new_tokens", 2049, 422),
        ("max_new_tokens", LONGEST, 422),
        ("max_new_tokens", "5", 422),
        ("temperature", 0, 200),
        ("temperature", 2, 200),
        ("temperature", 2.01, 422),
        ("temperature", -0.01, 422),
        ("top_p", 0, 200),
        ("top_p", 1, 200),
        ("top_p", 1.01, 422),
        ("input_text", "", 422),
        ("input_text", 5, 422),
        ("input_text", None, 422),
        ("input_categories", "{}", 422),
        ("input_categories", "no JSON", 422),
        ("input_categories", "", 422),
        ("temprature", 1, 422),
    ],
)
@pytest.mark.parametrize("path", [PREDICT, CHAT])
def test_what_is_out_of_bounds_is_told_by_its_field(
    api: TaskStand, path: str, field: str, value: Any, status: int
) -> None:
    more = {"instruction": "요약하라"} if path == CHAT else {}
    answer = api.ask(path, _asked(**more) | {field: value})
    assert answer.status == status, answer.content
    if status != 200:
        assert answer.error.startswith(f"`{field}")
        assert answer.json["error"]["param"].startswith(field)
        assert not api.engine.bodies("/v1/chat/completions")


@pytest.mark.parametrize("body", ["", "[", "[]", "null", b"\xff", '{"input_text": "\\ud800"}'])
def test_a_body_that_is_none_is_refused(api: TaskStand, body: str | bytes) -> None:
    assert api.router.ask(PREDICT, body, method="POST", Content_Type="application/json").status in {400, 422}


@pytest.mark.parametrize("text", ["가" * 1_000_000, "a b " * 300, "x" * (ROOM - 16)])
def test_input_that_is_too_long_is_cut_at_its_end_and_told(api: TaskStand, text: str) -> None:
    answer = api.ask(PREDICT, _asked(text))
    assert (answer.status, answer.json["truncated"]) == (200, True), answer.content
    [asked] = api.engine.bodies("/v1/chat/completions")
    left = asked["messages"][0]["content"]
    assert text.startswith(left)
    assert ROOM - 2 <= len(f"<user>{left}<assistant>") <= ROOM


def test_input_that_fits_exactly_is_whole(api: TaskStand) -> None:
    text = "x" * (ROOM - len("<user><assistant>"))
    answer = api.ask(PREDICT, _asked(text))
    assert (answer.json["truncated"], answer.json["confidence_score"]) == (False, pytest.approx(SURE))


def test_the_instruction_is_kept_whatever_is_cut(api: TaskStand) -> None:
    answer = api.ask(CHAT, _asked("나" * 2000, instruction="한 문장으로 " * 20))
    assert answer.json["truncated"] is True
    [asked] = api.engine.bodies("/v1/chat/completions")
    assert asked["messages"][0]["content"].startswith("한 문장으로 " * 20 + "\n나")


def test_an_instruction_that_does_not_fit_is_refused(api: TaskStand) -> None:
    answer = api.ask(CHAT, _asked("나", instruction="한 문장으로 " * 200))
    assert (answer.status, answer.json["error"]["param"]) == (422, "max_new_tokens")


def test_requests_are_cleaned_and_said_as_rows_were(api: TaskStand) -> None:
    api.ask(CLAIM, _asked("  바퀴가!!  또 나왔어요 ㅠㅠ.", input_categories=DICTIONARY))
    api.ask("/models/claims/chat", _asked("바퀴", instruction="요약하라"))
    first, second = api.engine.bodies("/v1/chat/completions")
    assert first["messages"] == [{"role": "user", "content": "바퀴가 또 나왔어요"}]
    assert first["chat_template_kwargs"] == {"category_dict": DICTIONARY}
    assert second["messages"] == [{"role": "user", "content": "바퀴"}]
    assert second["chat_template_kwargs"] == {"instruction": "요약하라"}


@pytest.mark.parametrize("given", [{"가": {"나": ["다", "라"]}}, '{"가": {"나": ["다", "라"]}}'])
def test_answers_are_bound_to_the_request_s_own_dictionary(api: TaskStand, given: Any) -> None:
    api.ask(CLAIM, _asked(input_categories=given))
    [asked] = api.engine.bodies("/v1/chat/completions")
    words = asked["response_format"]["json_schema"]["schema"]["properties"]["categories"]
    assert (words["maxItems"], list(words["items"]["properties"])) == (5, ["대분류", "중분류", "소분류", "근거"])
    assert [words["items"]["properties"][level]["enum"] for level in ("대분류", "중분류", "소분류")] == [
        ["가"],
        ["나"],
        ["다", "라"],
    ]
    assert json.loads(asked["chat_template_kwargs"]["category_dict"]) == {"가": {"나": ["다", "라"]}}


def test_without_one_the_version_s_own_dictionary_holds(api: TaskStand) -> None:
    api.ask(CLAIM, _asked())
    [asked] = api.engine.bodies("/v1/chat/completions")
    schema = asked["response_format"]["json_schema"]["schema"]["properties"]["categories"]
    assert len(schema["items"]["anyOf"]) == 3
    assert "chat_template_kwargs" not in asked


@pytest.mark.parametrize("given", ['{"가": ["나"]}', '["가"]', "5", '{"가": {"나": []}}', {}, {"가": 1}])
def test_a_dictionary_that_leads_nowhere_is_told_by_its_field(api: TaskStand, given: Any) -> None:
    answer = api.ask(CLAIM, _asked(input_categories=given))
    assert (answer.status, answer.json["error"]["param"]) == (422, "input_categories")


@pytest.mark.parametrize(
    ("says", "reason", "told"),
    [
        ('{"action":"BL', "length", "the answer is cut at max_new_tokens (100): ask for more"),
        ("no JSON", "stop", "the answer is no JSON"),
    ],
)
def test_an_answer_that_is_not_whole_is_no_success(api: TaskStand, says: str, reason: str, told: str) -> None:
    api.engine.says, api.engine.reason = says, reason
    answer = api.ask(PREDICT, _asked()).json
    assert (answer["success"], answer["raw_response"], answer["parsed_response"]) == (False, says, None)
    assert answer["error"] == told


def test_what_the_model_s_server_refuses_is_passed_on(api: TaskStand) -> None:
    api.engine.status = 429
    answer = api.ask(PREDICT, _asked(), X_User_Id=HERS["stable"])
    assert (answer.status, answer.error) == (429, "the engine says no")
    assert answer.headers["x-exposure-id"]


def test_a_server_that_counts_no_tokens_is_asked_as_it_is(api: TaskStand) -> None:
    """As a backend may be."""
    api.engine.has_tokenizer = False
    answer = api.ask(PREDICT, _asked("가" * 2000))
    assert (answer.status, answer.json["truncated"], answer.json["confidence_score"]) == (200, False, None)


@pytest.mark.parametrize("name", ["nobody", "mails@9", "%20"])
def test_a_model_that_there_is_not_is_told(api: TaskStand, name: str) -> None:
    answer = api.ask(f"/models/{name}/predict", _asked())
    assert (answer.status, answer.json["error"]["param"]) == (404, "model")


def test_a_version_may_be_named(api: TaskStand) -> None:
    answer = api.ask("/models/mails@2/predict", _asked())
    assert (answer.status, answer.headers["x-anneal-version"]) == (200, "two")
    assert "x-exposure-id" not in answer.headers


def test_of_several_models_one_is_to_be_named_and_the_only_one_need_not_be(api: TaskStand) -> None:
    told = api.ask("/predict", _asked())
    assert (told.status, told.json["error"]["param"]) == (404, "model")
    before = api.rules.read_text()
    write_rules(api.rules, TaskTable.of({"three": ("claims", CLAIMS)}))
    try:
        assert api.ask("/predict", _asked()).headers["x-anneal-version"] == "three"
    finally:
        api.rules.write_text(before)


def test_a_version_of_which_nothing_is_known_yet_is_waited_for(api: TaskStand) -> None:
    before = api.rules.read_text()
    write_rules(api.rules, TaskTable.of({"three": ("claims", CLAIMS)}))
    try:
        answer = api.ask(PREDICT, _asked())
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    finally:
        api.rules.write_text(before)


def test_a_batch_keeps_its_order_and_some_of_it_may_fail(api: TaskStand) -> None:
    api.engine.fails_at = "둘"
    inputs = [{"input_text": text} for text in ("하나", "둘", "셋", "가" * 2000)]
    inputs.append({"input_text": "다섯", "input_categories": "{"})
    answer = api.ask(BATCH, {"inputs": inputs, "max_new_tokens": 100}, X_User_Id=HERS["stable"]).json
    assert (answer["success"], answer["succeeded"], answer["failed"]) == (False, 3, 2)
    assert [result["status"] for result in answer["results"]] == [200, 500, 200, 200, 422]
    assert [result["truncated"] for result in answer["results"]] == [False, False, False, True, False]
    exposures = [result["exposure_id"] for result in answer["results"]]
    assert len({one for one in exposures if one}) == 3
    assert api.router.record_of(exposures[0])["user"]


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1, 200), (257, 422)])
def test_a_batch_has_bounds(api: TaskStand, count: int, status: int) -> None:
    assert api.ask(BATCH, {"inputs": [{"input_text": "가"}] * count, "max_new_tokens": 9}).status == status


def test_no_more_of_a_batch_is_asked_at_once_than_leaves_room_for_others(api: TaskStand) -> None:
    answer = api.ask(BATCH, {"inputs": [{"input_text": f"{n}"} for n in range(60)], "max_new_tokens": 9})
    assert answer.json["succeeded"] == 60
    assert 1 < api.engine.most_at_once <= 16


def test_a_batch_with_a_key_is_answered_once(api: TaskStand) -> None:
    batch = {"inputs": [{"input_text": "하나"}], "max_new_tokens": 9}
    first, again = (api.ask(BATCH, batch, Idempotency_Key="k1", X_User_Id="u1") for _ in range(2))
    assert first.json == again.json
    assert len(api.engine.bodies("/v1/chat/completions")) == 1
    other = api.ask(BATCH, {**batch, "max_new_tokens": 8}, Idempotency_Key="k1", X_User_Id="u1")
    assert (other.status, other.json["error"]["param"]) == (422, "Idempotency-Key")
    assert api.ask(BATCH, batch, Idempotency_Key="k1", X_User_Id="u2").json["success"], "another user's is another"
    assert len(api.engine.bodies("/v1/chat/completions")) == 2


def test_a_batch_of_which_nothing_was_answered_is_asked_anew(api: TaskStand) -> None:
    batch = {"inputs": [{"input_text": "하나"}], "max_new_tokens": 9}
    api.engine.fails_at = "하나"
    assert api.ask(BATCH, batch, Idempotency_Key="k2").json["failed"] == 1
    api.engine.fails_at = ""
    assert api.ask(BATCH, batch, Idempotency_Key="k2").json["success"]


def test_what_is_served_is_told_without_asking_a_model(api: TaskStand) -> None:
    told = api.ask("/").json
    assert told["service"] == "anneal tasks"
    assert told["models"]["mails"] == {
        "ready": True,
        "problem": None,
        "production": "one",
        "versions": {"1": "one", "2": "two"},
    }
    assert api.ask("/health").json == {"status": "ok", "ready": ["claims", "mails"]}
    assert not api.engine.asked


def test_the_page_says_how_to_ask_and_takes_nothing_from_elsewhere(api: TaskStand) -> None:
    page = api.ask("/docs")
    text = page.content.decode()
    assert page.headers["content-type"].startswith("text/html")
    assert "/models/{model}/predict" in text
    assert "시공 불만" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text


@pytest.mark.parametrize("headers", [{}, {"X_Anneal_Tasks": "another"}, {"Authorization": "Bearer tasks-key"}])
def test_what_is_the_task_api_s_own_is_nobody_else_s(api: TaskStand, headers: dict[str, str]) -> None:
    body = {"model": "one", "prompt": [1], "max_tokens": 1, "prompt_logprobs": 0}
    assert api.ask("/tasks/confidence", body, **headers).status == 404
    assert api.ask("/tasks/models", **headers).status == 401
    assert not api.engine.asked


def test_no_client_is_taken_for_it(api: TaskStand) -> None:
    answer = api.ask(PREDICT, _asked(confidence=False), X_Anneal_Tasks="tasks-key", X_User_Id=HERS["stable"])
    assert api.router.record_of(answer.headers["x-exposure-id"])


def test_a_task_api_that_is_away_takes_nothing_from_the_models(api: TaskStand) -> None:
    address = api.router.folder / "tasks-address"
    before = address.read_text()
    address.write_text("127.0.0.1:9")
    try:
        assert api.until(lambda: api.ask(PREDICT, _asked()).status == 503)
        answer = api.ask(PREDICT, _asked())
        assert "the task API takes nothing now" in answer.error
        assert answer.headers["retry-after"] == "5"
        assert api.ask("/health").json == {"status": "ok"}, "the router's own word"
        body = {"model": "mails", "messages": [{"role": "user", "content": "가"}], "max_tokens": 5}
        assert api.ask("/v1/chat/completions", body).status == 200
    finally:
        address.write_text(before)
        assert api.until(lambda: api.ask(PREDICT, _asked()).status == 200)


def test_how_sure_a_model_was_is_a_mean_of_probabilities(api: TaskStand) -> None:
    api.engine.log_probabilities = [math.log(0.25), math.log(0.75)]
    api.engine.says = '"가"'
    assert api.ask(PREDICT, _asked()).json["confidence_score"] == pytest.approx((0.25 + 0.75 + 0.25) / 3)
