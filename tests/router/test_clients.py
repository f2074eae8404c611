"""The official clients of OpenAI's interface run unchanged: their own calls, streams, errors and retries."""

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionUserMessageParam
from pydantic import BaseModel, SecretStr

from serving_runtime.plan import bucket

from .speaker import VECTOR, Speaker, speaker
from .stand import SALT, Stand, standing, table

WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


class Place(BaseModel):
    """Where something is."""

    city: str
    country: str


@pytest.fixture(scope="module")
def spoken() -> Iterator[Speaker]:
    with speaker() as played:
        yield played


@pytest.fixture(scope="module")
def stand(spoken: Speaker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with standing(tmp_path_factory.mktemp("router"), routes=table(spoken.port, 1)) as stand:
        workers = stand.workers()
        yield stand
        assert stand.workers() == workers


@pytest.fixture
def client(stand: Stand) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"http://127.0.0.1:{stand.port}/v1", api_key="the user's own", max_retries=0) as made:
        yield made


def _said(text: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": text}]


def test_a_chat_is_answered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="plain", messages=_said("hello there"))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("hello there", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5


@pytest.mark.parametrize("asks_usage", [False, True])
def test_a_chat_is_streamed_with_a_count_of_tokens_where_that_is_asked_for(client: OpenAI, asks_usage: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asks_usage else {}
    asked = client.chat.completions.create(model="plain", messages=_said("안녕 there"), stream=True, **options)
    chunks = list(asked)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "안녕 there "
    assert [c.usage.total_tokens for c in chunks if c.usage] == ([5] if asks_usage else [])
    assert all(chunk.choices for chunk in chunks) != asks_usage


def test_a_stream_s_helper_gathers_it(client: OpenAI) -> None:
    with client.chat.completions.stream(model="plain", messages=_said("hello there")) as stream:
        assert stream.get_final_completion().choices[0].message.content == "hello there "


def test_a_prompt_is_completed_whole_and_as_a_stream(client: OpenAI) -> None:
    assert client.completions.create(model="plain", prompt="one two").choices[0].text == "one two"
    stream = client.completions.create(model="plain", prompt="one two", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "one two "


def test_texts_become_vectors(client: OpenAI) -> None:
    """The client asks for base64, and decodes it."""
    answer = client.embeddings.create(model="plain", input=["a", "b"])
    assert [item.embedding for item in answer.data] == [VECTOR, VECTOR]
    answer = client.embeddings.create(model="plain", input="a", encoding_format="float")
    assert answer.data[0].embedding == VECTOR


def test_a_response_that_is_not_kept_is_answered_whole_and_as_a_stream(client: OpenAI) -> None:
    assert client.responses.create(model="plain", input="one two", store=False).output_text == "one two"
    events = list(client.responses.create(model="plain", input="one two", store=False, stream=True))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "one two "
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "one two"


def test_a_tool_is_called_whole_and_in_a_stream(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="plain", messages=_said("Seoul"), tools=[WEATHER])
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Seoul"}')
    stream = client.chat.completions.create(model="plain", messages=_said("Seoul"), tools=[WEATHER], stream=True)
    calls = [call for chunk in stream for call in chunk.choices[0].delta.tool_calls or []]
    assert [call.function and call.function.arguments for call in calls] == ['{"city": "Seoul"}']


def test_an_answer_is_read_into_a_type(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="plain", messages=_said("x"), response_format=Place)
    assert answer.choices[0].message.parsed == Place(city="x", country="x")


def test_models_are_listed_and_told_of(client: OpenAI) -> None:
    models = list(client.models.list())
    assert [model.id for model in models][:3] == ["alike", "down", "known"]
    assert all(model.created > 0 for model in models)
    for name in ("plain", "plain@2", "plain@production"):
        model = client.models.retrieve(name)
        assert (model.id, model.object, model.owned_by) == (name, "model", "anneal")
    with pytest.raises(openai.NotFoundError, match="there is no model `nobody` here"):
        client.models.retrieve("nobody")


def _chat(client: OpenAI, text: str = "x", model: str = "plain", **fields: Any) -> Any:
    return client.chat.completions.create(model=model, messages=_said(text), extra_body=fields or None)


@pytest.mark.parametrize(
    ("asked", "kind", "status", "param", "message"),
    [
        ({"model": "nobody"}, openai.NotFoundError, 404, "model", "there is no model `nobody` here"),
        ({"model": "plain@9"}, openai.NotFoundError, 404, "model", "no served version of `plain` is called `9`"),
        ({"model": "unborn"}, openai.NotFoundError, 404, "model", "no version of `unborn` answers yet"),
        ({"model": ""}, openai.NotFoundError, 404, "model", "GET /v1/models lists them"),
        ({"priority": 1}, openai.BadRequestError, 400, "priority", "`priority` is not taken"),
        ({"text": "x" * (9 << 20)}, openai.APIStatusError, 413, None, "larger than 8 MiB"),
        ({"text": "429"}, openai.RateLimitError, 429, None, "no more"),
        ({"text": "400"}, openai.BadRequestError, 400, None, "no more"),
        ({"text": "500"}, openai.InternalServerError, 500, None, "no more"),
        ({"text": "503"}, openai.InternalServerError, 503, None, "no more"),
        ({"model": "down"}, openai.InternalServerError, 502, None, "the model's server does not answer"),
    ],
    ids=range(11),
)
def test_an_error_is_the_client_s_own_and_says_what_it_is_about(
    client: OpenAI, asked: dict[str, Any], kind: type[openai.APIStatusError], status: int, param: str, message: str
) -> None:
    with pytest.raises(kind, match=message) as raised:
        _chat(client, **asked)
    assert type(raised.value) is kind
    assert (raised.value.status_code, raised.value.param) == (status, param)
    assert raised.value.type


def test_a_stored_response_is_not_found_and_one_to_be_stored_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="responses are not kept here") as raised:
        client.responses.create(model="plain", input="x", store=True)
    assert raised.value.param == "store"
    calls: list[Any] = [client.responses.retrieve, client.responses.delete, client.responses.cancel]
    for call in calls:
        with pytest.raises(openai.NotFoundError, match="responses are not kept here"):
            call("resp_1")
    with pytest.raises(openai.NotFoundError, match="there is nothing at this path"):
        client.files.list()


def test_a_client_comes_again_when_it_was_told_to(client: OpenAI, spoken: Speaker) -> None:
    """Of its own accord it would wait half a second at most."""
    start = time.monotonic()
    assert _chat(client.with_options(max_retries=1), "429 once").choices[0].message.content == "again"
    assert time.monotonic() - start >= 1
    assert spoken.asked["429 once"] == 2


def test_a_client_that_has_waited_long_enough_says_so(client: OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        _chat(client.with_options(timeout=0.2), "silence")
    assert _chat(client).choices[0].message.content == "x"


def test_a_user_has_one_variant_and_the_exposure_s_id(client: OpenAI) -> None:
    known = client.with_options(default_headers={"X-User-Id": "u1"})
    raw = known.chat.completions.with_raw_response.create(model="split", messages=_said("x"))
    assert raw.headers["x-anneal-variant"] == ("stable" if bucket(SALT, "u1") < 5000 else "tuned")
    assert raw.headers["x-exposure-id"]
    assert raw.parse().choices[0].message.content == "x"


@pytest.fixture
def chain(stand: Stand) -> Iterator[ChatOpenAI]:
    with DefaultHttpxClient() as http:
        yield ChatOpenAI(
            model="plain",
            base_url=f"http://127.0.0.1:{stand.port}/v1",
            api_key=SecretStr("the user's own"),
            max_retries=0,
            http_client=http,
            stream_usage=True,
        )


def test_langchain_invokes_streams_and_batches(chain: ChatOpenAI) -> None:
    answer = chain.invoke("hello there")
    assert answer.content == "hello there"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["total_tokens"] == 5
    chunks = list(chain.stream("hello there"))
    assert "".join(str(chunk.content) for chunk in chunks) == "hello there "
    assert [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata] == [5]
    assert [answer.content for answer in chain.batch(["a", "b", "c"])] == ["a", "b", "c"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_reads_an_answer_into_a_type(chain: ChatOpenAI, method: Any) -> None:
    assert chain.with_structured_output(Place, method=method).invoke("x") == Place(city="x", country="x")


def test_langchain_calls_a_tool(chain: ChatOpenAI) -> None:
    answer = chain.bind_tools([dict(WEATHER)]).invoke("Seoul")
    assert [(call["name"], call["args"]) for call in answer.tool_calls] == [("weather", {"city": "Seoul"})]


def test_langchain_raises_openai_s_errors(chain: ChatOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is no model `nobody` here"):
        chain.bind(model="nobody").invoke("x")
    with pytest.raises(openai.RateLimitError):
        chain.invoke("429")


def test_langchain_makes_vectors(stand: Stand) -> None:
    with DefaultHttpxClient() as http:
        place: Any = {"base_url": f"http://127.0.0.1:{stand.port}/v1", "api_key": "the user's own", "http_client": http}
        made = OpenAIEmbeddings(model="plain", check_embedding_ctx_length=False, **place)
        assert made.embed_documents(["a", "b"]) == [VECTOR, VECTOR]
