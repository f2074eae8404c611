"""Bodies of requests as nobody should write them, and what must become of each: by Python's own parser."""

import json
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["MODELS", "REFUSED", "agrees", "bodies", "parsed", "status_of"]

MODELS = {
    "plain": "engine-one",
    "plain@2": "engine-two",
    "alike": "alike",
    "known": "known",
    "known@1": "engine-known",
}
"""By which name the engine is asked."""
REFUSED = [
    "priority",
    "vllm_xargs",
    "kv_transfer_params",
    "ec_transfer_params",
    "request_id",
    "session_id",
    "cache_salt",
    "return_prompt_text",
    "prompt_logprobs",
    "echo",
]
_UNKEPT = ["store", "background", "previous_response_id", "conversation"]
_OPENED = ["structured_outputs", "response_format", "stream_options"]
_GRAMMARS = ["regex", "grammar", "structural_tag"]
_COUNTED = {"/v1/chat/completions", "/v1/completions"}
_LONGEST_KEY = 128
_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>[ \t\r\n]*:)?|(?P<open>[{\[])|(?P<close>[}\]])', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class _Object(dict[str, Any]):
    """An object, and whether a key of it was there twice."""

    is_ambiguous = False


def _collect(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    made.is_ambiguous = len(made) < len(pairs)
    return made


def _has_long_key(text: str) -> bool:
    """Whether a key that the router looks at is longer than it takes, as it is written."""
    looked_at, key = [False], ""
    for token in _TOKEN.finditer(text):
        if token["open"]:
            is_object = token["open"] == "{"
            looked_at.append(is_object and (len(looked_at) == 1 or (looked_at[-1] and key in _OPENED)))
        elif token["close"]:
            looked_at.pop()
        elif looked_at[-1] and token["colon"]:
            if len(token["string"].encode()) - 2 > _LONGEST_KEY:
                return True
            key = json.loads(token["string"], strict=False)
    return False


def _refuse(word: str) -> None:
    raise ValueError(word)


def parsed(body: bytes) -> Mapping[str, Any] | None:
    """What a parser makes of it; None where parsers may disagree, or it is none that the router takes."""
    try:
        text = body.decode()
        read = json.loads(text, object_pairs_hook=_collect, parse_constant=_refuse)
    except ValueError:
        return None
    if not isinstance(read, _Object) or _has_long_key(text):
        return None
    objects = [read, *(value for name in _OPENED if isinstance(value := read.get(name), _Object))]
    return None if any(found.is_ambiguous for found in objects) else read


def _is_said(value: Any) -> bool:
    return value is not None and value is not False


def _is_harmful(read: Mapping[str, Any], path: str) -> bool:
    """Whether it holds what is refused by name."""
    if any(_is_said(read.get(name)) for name in [*REFUSED, *(_UNKEPT if path == "/v1/responses" else [])]):
        return True
    outputs, form = read.get("structured_outputs"), read.get("response_format")
    if isinstance(outputs, dict) and any(_is_said(outputs.get(name)) for name in _GRAMMARS):
        return True
    return isinstance(form, dict) and form.get("type") == "structural_tag"


def status_of(body: bytes, path: str) -> int:
    """The status that it is answered with."""
    read = parsed(body)
    if read is None or _is_harmful(read, path):
        return 400
    options = read.get("stream_options")
    truths = [read.get("stream"), options.get("include_usage") if isinstance(options, dict) else None]
    if path in _COUNTED and any(not isinstance(truth, bool | None) for truth in truths):
        return 400
    model = read.get("model")
    if not isinstance(model, str) or not re.fullmatch("[^\ud800-\udfff]*", model):
        return 400
    return 200 if model in MODELS else 404


def _counted(read: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The body with the wish for a count of tokens, where the router makes it."""
    options = read.get("stream_options")
    is_counted = path in _COUNTED and read.get("stream") is True
    if not is_counted or (options is not None and not isinstance(options, dict)):
        return read
    options = options or {}
    if _is_said(options.get("include_usage")):
        return read
    every = {"continuous_usage_stats": False} if "continuous_usage_stats" in options else {}
    return {**read, "stream_options": {**options, "include_usage": True, **every}}


def agrees(body: bytes, got: bytes, path: str) -> bool:
    """Whether the engine got what was decided on: nothing is changed but what the documentation says."""
    sent, read = parsed(body), parsed(got)
    if sent is None or read is None or _is_harmful(read, path):
        return False
    name = MODELS[sent["model"]]
    wanted = _counted(sent, path)
    if read != {**wanted, "model": name}:
        return False
    return wanted is not sent or _is_spliced(body.decode(), got.decode(), sent["model"], name)


def _is_spliced(body: str, got: str, model: str, name: str) -> bool:
    """Whether all bytes are the same but for one string, the model's."""
    if name == model:
        return body == got
    found = [text for text in _STRING.finditer(body) if json.loads(text.group(), strict=False) == model]
    return any(got == body[: text.start()] + json.dumps(name) + body[text.end() :] for text in found)


_NAMES = st.sampled_from(
    [
        *("model", "user", "stream", "stream", "stream_options", "messages", "x", "", "스팸"),
        *(*REFUSED, *_UNKEPT, *_OPENED),
        *("stream_options.include_usage", "structured_outputs.regex", "Model", "model ", "__proto__"),
    ]
)
_BLANKS = st.sampled_from(["", "", "", " ", "\r\n\t"])
_VALUES = st.sampled_from(
    [
        *(
            '"plain"',
            '"known"',
            '"pl\\u0061in"',
            '"plain@2"',
            '"nobody"',
            '"\\ud800"',
            '"\\u0000"',
            '"스팸😀"',
            '"a\\"b"',
        ),
        *(
            "null",
            "null",
            "false",
            "false",
            "true",
            "0",
            "-0",
            "1",
            "1.0",
            "1e400",
            "1234567890123456789012345678901234",
        ),
        *("[]", "{}", '[[[{"model":"nobody"}]]]', '{"model":"nobody","priority":1}', '{"a":{"b":1,"b":2}}'),
        *('{"regex":1}', '{"re\\u0067ex":"a"}', '{"regex":null}', '{"choice":["a"]}', '{"type":"text"}'),
        *('{"type":"structural_tag"}', '{"\\u0074ype":"structural\\u005ftag"}', '{"type":null,"type":"text"}'),
        *('{"include_usage":true}', '{"include_usage":false}', '{ "x":[] }'),
        *('{"include_usage":null,"continuous_usage_stats":true}', '{"include_usage":1,"include_usage":0}'),
        *('[{"role":"system","content":"s"},{"role":"user","content":"u"}]', '"user"', '[{"role":"user"},1,null]'),
    ]
)
_MODELS = st.sampled_from(
    ['"plain"', '"known"', '"pl\\u0061in"', '"plain@2"', '"known@1"', '"\\u006b\\u006E\\u006f\\u0077n"', '"unborn"']
)
_BROKEN = st.sampled_from(
    [
        *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"e", b".", b" ", b"\0", b"\x1f", b"\x7f"),
        *(b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\u12", b"\\x"),
        *(b'"model":"known",', b'"mod\\u0065l":"known",', b"NaN", b"Infinity", b"//", b"tru", b"'", b"\xc2\xa0"),
    ]
)


@st.composite
def _key(draw: st.DrawFn) -> str:
    """A key as it may be written: its letters, or escapes in their place."""
    name = draw(_NAMES)
    form = draw(st.sampled_from(["plain", "plain", "plain", "first", "last", "all"]))
    at = {"plain": [], "first": [0], "last": [len(name) - 1], "all": list(range(len(name)))}[form]
    return '"' + "".join(f"\\u{ord(sign):04X}" if i in at else sign for i, sign in enumerate(name)) + '"'


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An object of some keys, mostly one that names a model, and mostly whole."""
    pairs = [(draw(_key()), draw(_VALUES)) for _ in range(draw(st.integers(0, 5)))]
    if draw(st.integers(0, 9)):
        pairs.insert(draw(st.integers(0, len(pairs))), ('"model"', draw(_MODELS)))
    blank = draw(_BLANKS)
    text = (
        blank + "{" + ("," + blank).join(f"{key}{blank}:{blank}{value}" for key, value in pairs) + blank + "}" + blank
    )
    body = text.encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at, instead_of = draw(st.integers(0, len(body))), draw(st.integers(0, 2))
        body = body[:at] + draw(_BROKEN) + body[at + instead_of :]
    return body
