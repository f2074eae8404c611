"""Specs made from a CRD's own schema: valid ones, edges, and ones with a mistake; and input meant to do harm."""

import copy
import random
import re
from typing import Any

from .patterns import matching

__all__ = ["generated_spec", "hostile_specs"]

Json = dict[str, Any]
# For fields with a pattern: values that match one of ours, and values that match none.
_TEXTS = (
    "configmap://data/rows.jsonl",
    "configmap://tiny",
    "models:/m@base",
    "hf://Qwen/Qwen3-8B",
    "hf://datasets/team/voices@v2/train.parquet",
    "pvc://claim/path",
    "s3://bucket/rows.jsonl",
    "https://example.com/rows.csv",
    "http://judge/v1",
    "nvidia.com/gpu",
    "mlflow-artifacts:/1/r/artifacts/model",
    "sha256:" + "0" * 64,
    "stable",
    "tuned",
    "a",
    "X-User-Id",
    "user_rating",
    "10m",
    "24h",
    "1h30m",
    "질문\u3000답변",
    "1Gi",
    "2",
    "output.action",
    "--flag",
)
_ODD = (
    "",
    " ",
    "-",
    "A_b",
    "a..b",
    "가",
    "a\u0000b",
    "😀",
    "x" * 500,
    "a\u3000b",
    "a\u000bb",
    "٣s",
    "v1",
    "0",
    "null",
    "true",
    "\n",
    "a\n",
)
_WRONG: tuple[Any, ...] = (None, True, -1, 0, 1, 1.0, 1.5, 10**18, 10**30, -(10**30), "1", "", [], {}, [1], {"a": 1})


def generated_spec(schema: Json, rng: random.Random) -> Any:
    """Return a spec: mostly as the schema says, in half of the cases with one to three mutations."""
    spec = _value(schema, rng)
    if rng.random() < 0.85:
        _choose(spec, schema, rng)
        _fit_together(spec)
        _compare(spec)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2, 3))):
        _mutate(spec, rng)
    return spec


def _choose(spec: Json, schema: Json, rng: random.Random) -> None:
    """Keep one of what excludes each other."""
    known = schema["properties"]
    if "shadow" in known:
        _of_one_type(spec, known, rng)
    if "backend" not in known:
        return
    if "backend" not in spec:
        spec["artifact"] = spec.get("artifact") or _value(known["artifact"], rng)
        return
    for name in ("artifact", "serving", "prompt", "provenance"):
        spec.pop(name, None)
    place = rng.choice(("serviceRef", "url"))
    spec["backend"] = {
        **{name: value for name, value in spec["backend"].items() if name not in {"serviceRef", "url"}},
        place: _value(known["backend"]["properties"][place], rng),
    }


def _of_one_type(spec: Json, known: Json, rng: random.Random) -> None:
    """Leave out of an experiment what others than its type have."""
    if spec.get("type", "AB") != "AB":
        spec["decision"] = {"mode": "Observe"}
    if spec.get("type") == "Shadow":
        for name in ("metrics", "assignment", "stopping"):
            spec.pop(name, None)
        return
    spec.pop("shadow", None)
    spec.setdefault("metrics", _value(known["metrics"], rng))


def _fit_together(spec: Json) -> None:
    """Tie what no schema ties: the same few rules would refuse most specs, and the others would never be reached."""
    if base := spec.get("base"):
        uri = str(base.get("uri"))
        base["initialize"] = "Random" if uri.startswith("configmap://") else "Pretrained"
        for name, schemes in (("revision", ("hf://",)), ("secretRef", ("hf://", "s3://"))):
            if not uri.startswith(schemes):
                base.pop(name, None)
    for source in (spec.get("dataset") or {}).get("sources") or ():
        if not str(source.get("uri")).startswith(("hf://", "s3://")):
            source.pop("secretRef", None)
    evaluation = spec.get("evaluation") or {}
    for gate in evaluation.get("gates") or ():
        evaluation["suites"] = evaluation.get("suites") or [{"name": "rows", "type": "Perplexity"}]
        gate["metric"] = f"{evaluation['suites'][0].get('name')}/perplexity"


def _compare(spec: Json) -> None:
    """Tie what no schema ties of an experiment."""
    for number, variant in enumerate(spec.get("variants") or ()):
        variant |= {"name": f"v{number}", "modelVersionRef": {"name": f"version-{number}"}}
        spec["control"] = "v0"
    decision = spec.get("decision") or {}
    if decision.pop("approve", None) and len(spec.get("variants") or ()) > 1:
        decision |= {"mode": "Recommend", "approve": "v1"}
    primary = (spec.get("metrics") or {}).get("primary") or {}
    _measure(primary)
    if (spec.get("assignment") or {}).get("ramp"):
        spec.setdefault("stopping", {})["maxDuration"] = "8760h"
    for number, beside in enumerate((spec.get("metrics") or {}).get("secondary") or ()):
        beside["name"], primary["name"] = f"s{number}", "primary"
        _score(beside)
    for number, guardrail in enumerate((spec.get("metrics") or {}).get("guardrails") or ()):
        guardrail |= {"name": f"g{number}", "maxRegressionPercent": 10}
        for name in ("min", "max", "range", "direction"):
            guardrail.pop(name, None)
        guardrail |= {"direction": "Increase"} if guardrail.get("source") == "OutputTokens" else {}
        guardrail |= {"range": {"min": 0, "max": 5}} if guardrail.get("source") == "Feedback" else {}


def _score(metric: Json) -> None:
    """Tie what no schema ties of what answers are worth."""
    if metric.get("source") not in {"SchemaValidity", "Refusals"}:
        metric.pop("samplePercent", None)
    metric.pop("responseSchema", None)
    metric |= {"responseSchema": '{"type": "object"}'} if metric.get("source") == "SchemaValidity" else {}


def _measure(primary: Json) -> None:
    """Tie what no schema ties of the number that decides."""
    _score(primary)
    if primary.get("missing") == "Zero":
        primary |= {"window": "24h"}
    if primary.get("source", "Feedback") != "Feedback":
        for name in ("window", "range", "missing", "direction"):
            primary.pop(name, None)
        primary |= {"direction": "Increase"} if primary["source"] == "OutputTokens" else {}
        primary |= {"minimumDetectableEffect": 0.5} if "minimumDetectableEffect" in primary else {}
    if primary.keys() & {"window", "range"}:
        primary["range"] = {"min": 0, "max": 5}


def _value(schema: Json, rng: random.Random) -> Any:
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, rng)
    if kind == "array":
        low = schema.get("minItems", 0)
        return [_value(schema["items"], rng) for _ in range(rng.randint(low, min(schema["maxItems"], low + 2)))]
    if kind == "string":
        return _text(schema, rng)
    if kind == "boolean":
        return rng.random() < 0.5
    return _number(schema, rng) if kind else rng.choice((1, 8, "500m", "4Gi"))


def _object(schema: Json, rng: random.Random) -> Json:
    if "properties" not in schema:
        if "additionalProperties" not in schema:
            return {"a": 1}
        is_of_resources = "type" not in schema["additionalProperties"]
        return {"cpu" if is_of_resources else "a": _value(schema["additionalProperties"], rng)}
    required = schema.get("required", ())
    names = [name for name in schema["properties"] if name in required or rng.random() < 0.2]
    return {name: _value(schema["properties"][name], rng) for name in names}


def _number(schema: Json, rng: random.Random) -> float:
    low, high = schema["minimum"], schema["maximum"]
    if schema["type"] == "integer":
        return rng.choice((low, high, rng.randint(low, min(high, low + 100))))
    return rng.choice((low, high, round(rng.uniform(low, high), 6)))


def _text(schema: Json, rng: random.Random) -> str:
    pattern = re.compile(schema.get("pattern", ""))
    if pattern.pattern and rng.random() < 0.5:
        return matching(pattern.pattern, rng)[: schema["maxLength"]]
    fitting = [text for text in _TEXTS if pattern.search(text) and len(text) <= schema["maxLength"]]
    return rng.choice(fitting) if fitting and rng.random() < 0.95 else rng.choice(_ODD)


def _mutate(spec: Any, rng: random.Random) -> None:
    """Remove a field, replace its value, or repeat an item, somewhere."""
    places = list(_places(spec))
    if not places:
        return
    holder, key = rng.choice(places)
    action = rng.random()
    if action < 0.25:
        del holder[key]
    elif action < 0.85:
        holder[key] = copy.deepcopy(rng.choice((*_WRONG, *_ODD, *_TEXTS)))
    elif isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)


def hostile_specs() -> list[tuple[str, str]]:
    """Raw JSON in the place of a string: what a program, a mistake or an attacker might send."""
    return [
        ("a megabyte of text", '"' + "x" * 1_000_000 + '"'),
        ("four megabytes of text", '"' + "x" * 4_000_000 + '"'),
        ("nested a thousand deep", '{"a":' * 1000 + "1" + "}" * 1000),
        ("nested ten thousand deep", "[" * 10000 + "]" * 10000),
        ("a huge integer", "9" * 400),
        ("not a number", "NaN"),
        ("infinity", "1e999"),
        ("NUL", '"models:/a\\u0000b@base"'),
        ("emoji", '"models:/😀@base"'),
        ("half a surrogate", '"models:/\\ud800@base"'),
        ("right-to-left", '"models:/\\u202eb@base"'),
        ("a list", "[]"),
        ("a truth", "true"),
    ]
