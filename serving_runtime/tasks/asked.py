"""What clients ask and are told, and what the OpenAPI page says of it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

__all__ = ["MOST_INPUTS", "Answered", "Batch", "BatchAnswered", "BatchItem", "Chat", "Input", "ItemAnswered", "Predict"]

MOST_INPUTS = 256
_VOICE = "주방 싱크대 밑에서 바퀴가 세 마리나 나왔어요. 지난달에 방역했는데 왜 또 나오죠?"
_DICTIONARY = '{"시공 불만": {"재발": ["방역 뒤 재발"], "재방문": ["재방문 요청"]}, "문의": {"비용": ["비용 문의"]}}'
_INSTRUCTION = "고객의 소리를 한 문장으로 요약하라."
_PARSED: dict[str, JsonValue] = {
    "is_claim": "claim",
    "categories": [{"대분류": "시공 불만", "중분류": "재발", "소분류": "방역 뒤 재발", "근거": "왜 또 나오죠"}],
}
_Text = Annotated[str, StringConstraints(min_length=1)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Sampling(_Asked):
    """How an answer is written."""

    max_new_tokens: int = Field(default=512, ge=1, le=2048)
    """The longest that it may be; as many tokens fewer are left for the input."""
    temperature: float = Field(default=0.1, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=0.9, ge=0, le=1, allow_inf_nan=False)
    confidence: bool = True
    """Whether to say how likely the answer was, which the model is asked for once more."""
    user: str | None = Field(default=None, max_length=1022)
    """Who asks, for experiments that look there."""


class Input(_Asked):
    """What is read."""

    input_text: _Text
    """It is cleaned as rows were in training, and cut at its end where it is too long."""
    input_categories: str | dict[str, Any] | None = None
    """The dictionary that the answer's categories come from, as JSON; without one the version's own holds."""


class Predict(Input, Sampling):
    """A task, as the version was trained for it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input_text": _VOICE, "input_categories": _DICTIONARY}]})


class Chat(Predict):
    """A task with an instruction of the client's own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"instruction": _INSTRUCTION, "input_text": _VOICE}]})

    instruction: _Text
    """It is never cut."""


class BatchItem(Input):
    """One of many."""

    instruction: _Text | None = None


class Batch(Sampling):
    """Many tasks, each answered for itself."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": [{"input_text": _VOICE}, {"input_text": "비용이 얼마인가요?"}]}]}
    )

    inputs: list[BatchItem] = Field(min_length=1, max_length=MOST_INPUTS)


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Answered(_Said):
    """What the model said."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "confidence_score": 0.93,
                    "raw_response": '{"is_claim":"claim", …}',
                    "parsed_response": _PARSED,
                    "error": None,
                    "truncated": False,
                }
            ]
        }
    )

    success: bool
    """Whether it is whole, and JSON where the version answers in JSON."""
    confidence_score: float | None = Field(ge=0, le=1)
    """The mean probability of the answer's tokens, before schema and temperature; null where it is not known."""
    raw_response: str
    parsed_response: Any
    """The answer as JSON; null where it is none."""
    error: str | None
    """Why there is no success."""
    truncated: bool
    """Whether the input was cut to fit."""


class ItemAnswered(_Said):
    """What became of one of many."""

    success: bool
    confidence_score: float | None = Field(default=None, ge=0, le=1)
    raw_response: str = ""
    parsed_response: Any = None
    error: str | None = None
    truncated: bool = False
    status: int = 200
    """What its own request would have been answered with."""
    exposure_id: str | None = None
    """By which feedback names the answer."""


class BatchAnswered(_Said):
    """One for each input, in their order."""

    success: bool
    """Whether all have it."""
    succeeded: int
    failed: int
    results: list[ItemAnswered]
