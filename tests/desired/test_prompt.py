"""A job's prompt goes on to its plan, its version and its server, so that requests read as rows did."""

import json
from typing import Any

import pytest

from anneal_operator.api.dataset import Dataset
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.api.prompt import VersionPrompt
from anneal_operator.api.serving import Serving
from anneal_operator.desired.keys import Keys
from anneal_operator.desired.plan import Base, make_plan
from anneal_operator.desired.publishing import model_version
from anneal_operator.desired.serving import ServingEnvironment, deployment
from training_runtime.plan import PromptPlan, Published

PARENT: dict[str, Any] = {
    "metadata": {"name": "tuned", "namespace": "team", "uid": "u"},
    "apiVersion": "v1",
    "kind": "FineTuneJob",
}
PUBLISHED = Published(
    run_id="r", experiment_id="1", uri="mlflow-artifacts:/1/r/model", digest="sha256:" + "0" * 64, format="Full"
)
CLAIMS: dict[str, Any] = {
    "format": "Text",
    "text": "{instruction}\n{input}\n{category_dict}\n{output}",
    "textWithoutInput": "{instruction}\n{output}",
    "defaults": {"category_dict": "{}"},
}


def _spec(prompt: dict[str, Any]) -> FineTuneJobSpec:
    return FineTuneJobSpec.parse(
        {
            "base": {"uri": "models:/m@base"},
            "dataset": {"sources": [{"uri": "s3://a/b"}], "columns": {"context": ["category_dict"]}},
            "prompt": prompt,
            "output": {"modelName": "m"},
        }
    )


def test_the_plan_says_what_the_job_says() -> None:
    plan = make_plan(PARENT["metadata"], _spec(CLAIMS), Base("s3://m/b", "1"), "http://mlflow", "trainer:1", "server:1")
    assert plan.dataset.columns.context == ["category_dict"]
    assert plan.dataset.prompt == PromptPlan(
        format="Text",
        text="{instruction}\n{input}\n{category_dict}\n{output}",
        text_without_input="{instruction}\n{output}",
        defaults={"category_dict": "{}"},
    )


def test_the_version_carries_the_prompt() -> None:
    made = model_version(PARENT, _spec(CLAIMS), PUBLISHED, "sha256:1")
    assert made["spec"]["prompt"] == {**CLAIMS, "thinking": "None"}
    read = ModelVersionSpec.parse(made["spec"]).prompt
    assert read == VersionPrompt(**dict(_spec(CLAIMS).prompt))


def test_the_version_carries_how_questions_are_cleaned_and_what_answers_look_like() -> None:
    words = {"field": "categories", "levels": ["large"], "context": "category_dict"}
    spec = _spec(CLAIMS)
    data = {"responseSchema": {"type": "object"}, "responseDictionary": words}
    data["clean"] = {"removePattern": "[!]", "collapseWhitespace": True, "minCharacters": 5}
    told = spec.model_copy(update={"dataset": Dataset.parse({**spec.dataset.dump(), **data})})
    prompt = model_version(PARENT, told, PUBLISHED, "sha256:1")["spec"]["prompt"]
    assert {name: prompt[name] for name in data} == {
        "responseSchema": {"type": "object"},
        "responseDictionary": words,
        "clean": {"removePattern": "[!]", "collapseWhitespace": True},
    }


@pytest.mark.parametrize(
    ("prompt", "thinks"), [({"thinking": "Keep"}, True), ({"thinking": "None"}, False), (None, False)]
)
def test_a_server_is_told_whether_its_model_thinks(prompt: dict[str, Any] | None, *, thinks: bool) -> None:
    artifact = {"uri": PUBLISHED.uri, "format": "Full", "digest": PUBLISHED.digest}
    spec = ModelVersionSpec.parse({"modelName": "m", "artifact": artifact, "prompt": prompt})
    environment = ServingEnvironment("server:1", "IfNotPresent", "http://mlflow", {}, Keys("e", "a", "u", "t"))
    made = deployment({**PARENT, "kind": "ModelVersion"}, spec, Serving(), 1, environment, startup_seconds=900)
    arguments = made["spec"]["template"]["spec"]["containers"][0]["args"]
    assert json.loads(arguments[arguments.index("--plan") + 1])["thinks"] is thinks
