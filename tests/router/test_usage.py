"""What the router reads of an answer as it passes, its tokens above all; and which event of a stream it keeps."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .lua import Reader, reading
from .stand import Stand

ANY_CUT = settings(
    deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ID = "chatcmpl-1"
LONGEST = 65536
"""Of an event that waits for its end, in stream.lua."""
FORGED = '","usage":{"prompt_tokens":9,"completion_tokens":9},"choices":[],"id":"forged"'


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with reading() as made:
        yield made


def chunk(content: Any = None, *, role: str | None = None, finish: str | None = None, **more: Any) -> str:
    delta = {key: value for key, value in (("role", role), ("content", content)) if value is not None}
    made = {"id": ID, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]} | more
    for choice in made["choices"]:
        choice["finish_reason"] = finish
    return json.dumps(made, separators=(",", ":"), ensure_ascii=False)


def counted(prompt: Any = 5, completion: Any = 3, **more: Any) -> str:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "prompt_tokens_details": {"cached_tokens": 1}}
    return json.dumps({"id": ID, "choices": [], "usage": usage} | more, separators=(",", ":"))


BEGIN, WORD, LAST = chunk("", role="assistant"), chunk("a " + FORGED), chunk("", finish="stop")
USAGE, DONE = counted(), "[DONE]"


def events(*data: str, end: str = "\n\n") -> str:
    return "".join(f"data: {text}{end}" for text in data)


PLAIN = [BEGIN, WORD, WORD, LAST]
IN_EVERY = [chunk("a", usage={"prompt_tokens": 5, "completion_tokens": number}) for number in (1, 2)]
SHAPES: Mapping[str, tuple[str, str, tuple[int | None, int | None]]] = {
    "last": (events(*PLAIN, USAGE, DONE), events(*PLAIN, DONE), (5, 3)),
    "crlf": (events(*PLAIN, USAGE, DONE, end="\r\n\r\n"), events(*PLAIN, DONE, end="\r\n\r\n"), (5, 3)),
    "in every chunk": (events(*IN_EVERY, USAGE, DONE), events(*IN_EVERY, DONE), (5, 3)),
    "in every chunk alone": (events(*IN_EVERY, DONE), events(*IN_EVERY, DONE), (5, 2)),
    "with a choice": (events(BEGIN, IN_EVERY[1], DONE), events(BEGIN, IN_EVERY[1], DONE), (5, 2)),
    "null until the last": (events(chunk("a", usage=None), USAGE, DONE), events(chunk("a", usage=None), DONE), (5, 3)),
    "with blanks": (events(chunk("a"), USAGE.replace(":", " : ").replace("[]", "[ ]")), events(chunk("a")), (5, 3)),
    "no blank behind the colon": (f"data:{WORD}\n\ndata:{USAGE}\n\n", f"data:{WORD}\n\n", (5, 3)),
    "comments": (f": ping\n\n{events(WORD, USAGE)}: ping\n\n", f": ping\n\n{events(WORD)}: ping\n\n", (5, 3)),
    "blank line": (f"\n{events(WORD)}\n{events(USAGE, DONE)}", f"\n{events(WORD)}\n{events(DONE)}", (5, 3)),
    "blank lines": (f"{events(WORD)}\r\n\n\n{events(USAGE)}", f"{events(WORD)}\r\n\n\n", (5, 3)),
    "a comment above": (
        events(WORD) + f": ping\n: data: x\ndata: {USAGE}\n\n",
        events(WORD) + ": ping\n: data: x\n",
        (5, 3),
    ),
    "a comment alone": (f": ping\n\n{events(WORD, USAGE)}: pin", f": ping\n\n{events(WORD)}: pin", (5, 3)),
    "named": (f"event: x\ndata: {WORD}\n\nid: 1\ndata: {USAGE}\n\n", f"event: x\ndata: {WORD}\n\n", (5, 3)),
    "no empty line at its end": (events(WORD) + f"data: {USAGE}", events(WORD), (5, 3)),
    "not at all": (events(*PLAIN, DONE), events(*PLAIN, DONE), (None, 2)),
    "not a number": (events(WORD, counted("5", 1.5), DONE), events(WORD, DONE), (None, None)),
    "no object": (events(WORD, counted(usage=[5]), DONE), events(WORD, counted(usage=[5]), DONE), (None, 1)),
    "broken": (events(WORD, USAGE[:-1], DONE), events(WORD, DONE), (5, 3)),
    "only begun": (events(WORD) + "data: " + USAGE[:40], events(WORD) + "data: " + USAGE[:40], (None, 1)),
    "empty": ("", "", (None, 0)),
}


def cut(text: str, places: Sequence[int]) -> list[bytes]:
    """The text in pieces, and an empty one that says that nothing follows."""
    content = text.encode()
    edges = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    return [*(content[start:stop] for start, stop in pairwise(edges)), b""]


def _tokens(told: Mapping[str, Any]) -> tuple[Any, Any]:
    count = told.get("answer") if told.get("counted") else told["chunks"]
    return told.get("prompt"), count


@pytest.mark.parametrize("shape", SHAPES)
def test_the_count_that_the_client_did_not_ask_for_is_read_and_withheld_wherever_a_stream_is_cut(
    reader: Reader, shape: str
) -> None:
    sent, expected, tokens = SHAPES[shape]
    length = len(sent.encode())
    for places in ([], range(length), range(0, length, 3), *([place] for place in range(1, length))):
        told = reader.read(cut(sent, places))
        assert (told["passed"].decode(), _tokens(told)) == (expected, tokens)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_client_that_asked_gets_all_and_at_once(reader: Reader, shape: str) -> None:
    sent, _, tokens = SHAPES[shape]
    pieces = cut(sent, range(0, len(sent), 7))
    told = reader.read(pieces, withholds=False)
    assert (told["passed"].decode(), _tokens(told)) == (sent, tokens)
    for number in range(1, len(pieces)):
        assert reader.read([*pieces[:number], b"x"], withholds=False)["passed"] == b"".join(pieces[:number]) + b"x"


TEXTS = st.text() | st.sampled_from([FORGED, '"usage":{', "\\", '\\"', "\n\ndata: [DONE]\n\n", '{"error"', "usage"])
DATA = st.one_of(
    st.builds(chunk, TEXTS, role=st.none() | st.just("assistant"), finish=st.sampled_from([None, None, "stop"])),
    st.builds(lambda text: chunk("a", logprobs={"usage": {"prompt_tokens": 1}, text: [text]}), TEXTS),
    st.builds(counted, st.integers(0, 9), st.integers(0, 9)),
    st.builds(lambda text: counted(metadata={"choices": [1], text: {"usage": 1}}), TEXTS),
    st.builds(lambda count: chunk("b", usage={"prompt_tokens": 2, "completion_tokens": count}), st.integers(0, 9)),
    st.just(DONE),
)


def _expected(data: Sequence[str]) -> tuple[list[str], tuple[Any, Any]]:
    """What a client gets, and the last count, as Python's own parser reads them."""
    passed, tokens = [], (None, None)
    for text in data:
        parsed = {} if text == DONE else json.loads(text)
        usage = parsed.get("usage")
        if isinstance(usage, dict):
            tokens = usage["prompt_tokens"], usage["completion_tokens"]
        if parsed.get("choices") != [] or not usage:
            passed.append(text)
    return passed, tokens


@ANY_CUT
@given(
    data=st.lists(DATA, max_size=6),
    end=st.sampled_from(["\n\n", "\r\n\r\n"]),
    places=st.lists(st.integers(0, 5000), max_size=12),
)
def test_a_stream_passes_as_a_parser_would_pass_it(
    reader: Reader, data: list[str], end: str, places: list[int]
) -> None:
    passed, tokens = _expected(data)
    told = reader.read(cut(events(*data, end=end), places))
    assert told["passed"].decode() == events(*passed, end=end)
    assert (told.get("prompt"), told.get("answer")) == tokens
    first: dict[str, Any] = next((json.loads(text) for text in data if text != DONE), {})
    assert told.get("completion") == first.get("id")


@pytest.mark.parametrize(
    ("data", "first", "last", "chunks"),
    [
        ([BEGIN, WORD, WORD, LAST, USAGE, DONE], 2, 4, 2),
        ([BEGIN, chunk("a", finish="stop"), DONE], 2, 2, 1),
        ([BEGIN, LAST], None, 2, 0),
        ([chunk(choices=[{"delta": {"reasoning_content": "a"}}]), WORD], 1, 2, 2),
        ([chunk(choices=[{"delta": {"tool_calls": [{"function": {"arguments": '{"a"'}}]}}])], 1, 1, 1),
        ([BEGIN.replace('":"', '" : "'), WORD.replace('":"a', '": "a')], 2, 2, 1),
        ([BEGIN], None, None, 0),
    ],
)
def test_a_token_is_content_not_a_role_nor_an_end(
    reader: Reader, data: list[str], first: int | None, last: int | None, chunks: int
) -> None:
    told = reader.read([*(events(text).encode() for text in data), b""])
    assert (told.get("first"), told.get("last"), told["chunks"]) == (first, last, chunks)


def _response(event: str, **more: Any) -> str:
    tools = [{"type": "function", "parameters": {"properties": {"usage": {"input_tokens": 9}, "id": {"a": 1}}}}]
    response = {"id": "resp_1", "metadata": {"usage": "x"}, "tools": tools, "output": [{"id": "msg_1"}]} | more
    return (
        f"event: {event}\ndata: {json.dumps({'type': event, 'usage': {'input_tokens': 8}, 'response': response})}\n\n"
    )


SAID = 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a","item_id":"m"}\n\n'
RESPONSE = [_response("response.created", usage=None), SAID, SAID]


@pytest.mark.parametrize("length", [10, 100_000])
def test_a_stream_of_responses_counts_in_its_last_event(reader: Reader, length: int) -> None:
    usage = {"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 0}}
    ends = _response("response.completed", text="x" * length, usage=usage)
    sent = "".join([*RESPONSE, ends])
    for size in (1 if length < 100 else 1001, 64, 4096):
        told = reader.read(cut(sent, range(0, len(sent), size)), "responses")
        assert told["passed"].decode() == sent
        assert (told["prompt"], told["answer"], told["completion"]) == (5, 3, "resp_1")
        assert (told["finished"], told["failed"], told["chunks"]) == (True, False, 2)


def test_a_chunk_that_is_too_long_to_wait_passes_as_it_comes_and_is_read_all_the_same(reader: Reader) -> None:
    long = chunk("x" * 200_000, finish="stop", usage={"prompt_tokens": 5, "completion_tokens": 4})
    for end in ("\n\n", "\r\n\r\n"):
        sent = events(WORD, long, USAGE, DONE, end=end)
        for size in (1000, 4096, 65537):
            told = reader.read(cut(sent, range(0, len(sent), size)))
            assert told["passed"].decode() == events(WORD, long, DONE, end=end)
            assert (told["finished"], told["prompt"], told["answer"]) == (True, 5, 3)
            assert told["held"] <= LONGEST


@pytest.mark.parametrize("pad", range(48, 64))
def test_an_end_that_is_cut_in_two_in_a_long_chunk_is_found(reader: Reader, pad: int) -> None:
    sent = events(chunk("x" * 70_000, finish="abort"))
    told = reader.read(cut(sent, [66_000, len(sent) - pad]))
    assert (told["finished"], told["failed"], told["passed"].decode()) == (True, True, sent)


ANSWERS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers(0, 9) | TEXTS | st.just([]) | st.just({}),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", "id", "choices", "response", "a"]) | TEXTS, inner, max_size=4)
    ),
    max_leaves=8,
)
COUNTS = st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)})


@ANY_CUT
@given(
    answer=st.dictionaries(st.sampled_from(["choices", "a", "response", "usage_"]) | TEXTS, ANSWERS, max_size=5),
    usage=st.none() | COUNTS,
    id_=st.none() | st.sampled_from([ID, 'a"b', "스팸", "\\", [ID], {"id": ID}, 5, ""]),
    at=st.integers(0, 9),
    written=st.sampled_from([(None, (",", ":")), (2, (", ", ": ")), (0, (" ,", " :\t"))]),
    places=st.lists(st.integers(0, 5000), max_size=12),
)
def test_an_answer_s_own_count_is_read_and_nothing_that_looks_like_it(
    reader: Reader, answer: dict[str, Any], usage: Any, id_: Any, at: int, written: Any, places: list[int]
) -> None:
    answer = {key: value for key, value in answer.items() if key not in {"usage", "id"}}
    pairs = list(answer.items())
    pairs.insert(at % (len(pairs) + 1), ("usage", usage))
    pairs.insert(at % 3, ("id", id_))
    text = json.dumps(dict(pairs), indent=written[0], separators=written[1], ensure_ascii=False)
    told = reader.read(cut(text, places), streams=False)
    assert told.get("completion") == (id_ if isinstance(id_, str) and id_ else None)
    count = usage or {}
    assert (told.get("prompt"), told.get("answer")) == (count.get("prompt_tokens"), count.get("completion_tokens"))


def test_an_answer_is_read_wherever_it_is_cut(reader: Reader) -> None:
    text = json.dumps({"id": ID, "x": [WORD, {"usage": {"prompt_tokens": 1}}], **json.loads(USAGE), "z": {"id": "z"}})
    for places in ([], range(len(text)), *([place] for place in range(len(text)))):
        told = reader.read(cut(text, places), streams=False)
        assert (told["prompt"], told["answer"], told["completion"]) == (5, 3, ID)


def test_a_whole_response_counts_by_names_of_its_own(reader: Reader) -> None:
    usage = {"input_tokens": 5, "output_tokens": 3}
    tools = [{"parameters": {"properties": {"usage": {"input_tokens": 9}}}}]
    answer = {"id": "resp_1", "output": [{"id": "msg_1"}], "tools": tools, "usage": usage, "user": None}
    told = reader.read(cut(json.dumps(answer), [50]), "responses", streams=False)
    assert (told["prompt"], told["answer"], told["completion"]) == (5, 3, "resp_1")


@pytest.mark.parametrize(
    "text", ["{", '{"usage":', '{"usage":{"prompt_tokens":1', "}}]]", '"', '{"id":"\\', "[1]", "\0"]
)
def test_what_is_no_answer_is_read_as_nothing(reader: Reader, text: str) -> None:
    told = reader.read(cut(text, range(len(text))), streams=False)
    assert not {"prompt", "answer", "completion", "counted"} & set(told)


INCLUDED = '"include_usage":true'
ASKED = [
    ('{"stream":true,"model":"M"}', f'{{"stream":true,"stream_options":{{{INCLUDED}}},"model":"M"}}'),
    ('{"model":"M","stream":true }', f'{{"model":"M","stream":true,"stream_options":{{{INCLUDED}}} }}'),
    (
        '{"stream_options":null,"stream":true,"model":"M"}',
        f'{{"stream_options":{{{INCLUDED}}},"stream":true,"model":"M"}}',
    ),
    (
        '{"stream_options":{ },"stream":true,"model":"M"}',
        f'{{"stream_options":{{{INCLUDED} }},"stream":true,"model":"M"}}',
    ),
    (
        '{"stream_options":{"a":[{}]},"model":"M","stream":true}',
        f'{{"stream_options":{{{INCLUDED},"a":[{{}}]}},"model":"M","stream":true}}',
    ),
    (
        '{"stream":true,"model":"M","stream_options":{"a":1,"include_usage":false}}',
        '{"stream":true,"model":"M","stream_options":{"a":1,"include_usage":true}}',
    ),
    (
        '{"stream_options":{"continuous_usage_stats":true,"include_usage":null},"stream":true,"model":"M"}',
        '{"stream_options":{"continuous_usage_stats":false,"include_usage":true},"stream":true,"model":"M"}',
    ),
    *(
        (unchanged, unchanged)
        for unchanged in (
            '{"stream":false,"model":"M"}',
            '{"model":"M"}',
            '{"stream":null,"stream_options":{},"model":"M"}',
            f'{{"stream":true,"stream_options":{{{INCLUDED},"continuous_usage_stats":true}},"model":"M"}}',
            '{"stream":true,"stream_options":"x","model":"M"}',
        )
    ),
]


@pytest.mark.parametrize(("body", "expected"), ASKED, ids=range(len(ASKED)))
@pytest.mark.parametrize(("model", "known_as"), [("alike", "alike"), ("plain", "engine-one")])
@pytest.mark.parametrize("padding", ["", '"long":"' + "x" * 100_000 + '",'], ids=["memory", "file"])
def test_a_stream_is_asked_for_its_count_in_one_place(
    router: Stand, body: str, expected: str, model: str, known_as: str, padding: str
) -> None:
    body, expected = body.replace('"M"', f'"{model}"'), expected.replace('"M"', f'"{known_as}"')
    padded, wanted = (text.replace("{", "{" + padding, 1) for text in (body, expected))
    for path in ("/v1/chat/completions", "/v1/completions"):
        assert router.ask(path, padded).echoed == wanted
    assert router.ask("/v1/responses", padded).echoed == padded.replace(f'"{model}"', f'"{known_as}"')


def _played(router: Stand, pieces: Sequence[str], asked: str = "", path: str = "/v1/chat/completions") -> Any:
    """What a client gets of such a stream, and the line of it."""
    known = {line["exposure"] for line in router.records()}
    body = json.dumps({"model": "split", "play": list(pieces)}, separators=(",", ":"))[:-1]
    answer = router.ask(path, f'{body},"scenario":"play"{asked}}}', X_User_Id="u1")
    line = router.record_of(answer.headers["x-exposure-id"])
    assert line["exposure"] not in known
    return answer, line


STREAM = ',"stream":true'
TOLD = {"completion": ID, "promptTokens": 5, "completionTokens": 3, "counted": "usage", "outcome": "complete"}


@pytest.mark.parametrize("size", [7, 100, 100_000])
def test_a_client_gets_the_stream_that_it_asked_for_and_the_line_has_its_count(router: Stand, size: int) -> None:
    sent = events(*PLAIN, USAGE, DONE)
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    answer, line = _played(router, pieces, STREAM)
    assert answer.content.decode() == events(*PLAIN, DONE)
    assert TOLD.items() <= line.items()
    answer, line = _played(router, pieces, STREAM + f',"stream_options":{{{INCLUDED}}}')
    assert answer.content.decode() == sent
    assert TOLD.items() <= line.items()


def test_a_stream_whose_length_was_told_is_shorter_without_its_count(router: Stand) -> None:
    answer, line = _played(router, ["SIZED", events(*PLAIN, USAGE, DONE)], STREAM)
    assert (answer.content.decode(), answer.is_whole) == (events(*PLAIN, DONE), True)
    assert TOLD.items() <= line.items()


def test_a_stream_without_a_count_is_counted_by_its_pieces(router: Stand) -> None:
    answer, line = _played(router, [events(BEGIN), events(WORD, WORD), events(LAST, DONE)], STREAM)
    assert answer.content.decode() == events(BEGIN, WORD, WORD, LAST, DONE)
    assert (line["completionTokens"], line["counted"], "promptTokens" in line) == (2, "chunks", False)


def test_a_stream_that_breaks_off_passes_to_its_last_byte(router: Stand) -> None:
    answer, line = _played(router, [events(BEGIN, WORD) + "data: {", "CUT"], STREAM)
    assert (answer.content.decode(), answer.is_whole) == (events(BEGIN, WORD) + "data: {", False)
    assert (line["outcome"], line["completionTokens"], line["counted"]) == ("broken", 1, "chunks")


def test_a_whole_answer_s_count_is_in_its_line(router: Stand) -> None:
    answer, line = _played(router, ["WHOLE", json.dumps({**json.loads(USAGE), "choices": [{"finish_reason": "stop"}]})])
    assert answer.json["usage"]["prompt_tokens"] == 5
    assert TOLD.items() <= line.items()


def test_embeddings_count_what_was_asked(router: Stand) -> None:
    sent = '{"id":"embd-1","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}'
    _, line = _played(router, ["WHOLE", sent], path="/v1/embeddings")
    assert (line["promptTokens"], line["completion"], "completionTokens" in line) == (4, "embd-1", False)
    assert line["counted"] == "usage"


def test_the_first_token_is_not_the_role(router: Stand) -> None:
    _, line = _played(router, [events(BEGIN), "PAUSE", events(WORD), "PAUSE", events(WORD), events(LAST, DONE)], STREAM)
    assert line["first"] >= 0.05
    assert line["last"] - line["first"] >= 0.05
