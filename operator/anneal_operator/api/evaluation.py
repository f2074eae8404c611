"""FineTuneJob's evaluation: what the tuned model is asked, and how the answers are judged."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from training_runtime.plan import Engine, SuiteType

from .schema import CHARACTER, Alias, DottedPath, LocalReference, MapByName, ObjectName, Rule, Schema, SetOf

__all__ = ["Evaluation", "Gate", "Suite"]

_CasesSource = Annotated[
    str,
    StringConstraints(
        max_length=400,
        pattern=r"^(configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-A-Za-z0-9._]{1,253}"
        rf"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/{CHARACTER}+)$",
    ),
]
_Task = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Suite(Schema):
    """One way of judging answers."""

    name: ObjectName
    """What its metrics are called by: suite `action` measures `action/accuracy`."""
    type: SuiteType
    """`Classification` compares labels (accuracy, precision, recall and F1); `JSON` counts the answers that are
    valid JSON, and satisfy `dataset.responseSchema`; `Text` compares with the row's answer (exact match, ROUGE-L,
    chrF); `Perplexity` is that of the rows' answers; `Judge` has another model give marks; `Harness` runs tasks of
    lm-evaluation-harness.
    """
    label_field: DottedPath | None = None
    """The field of a JSON answer that holds the label, for `Classification`; the whole answer is the label where it is
    left out.
    """
    language_field: DottedPath | None = None
    """The field of a JSON answer, for `Classification`, that must be written in the language of the row's own answer,
    which is told by its letters; an answer in another language counts as wrong.
    """
    cases: _CasesSource | None = None
    """Cases of your own instead of the test rows: `configmap://NAME/KEY` or `pvc://CLAIM/PATH`, a file with rows like
    the data's. They are cleaned and masked as these are, and none may ask what a training row asks. For `Harness` the
    folder of the tasks.
    """
    tasks: SetOf[_Task] = Field(default=[], max_length=64)
    """The names of the tasks, for `Harness`."""
    url: str | None = Field(default=None, max_length=400, pattern=rf"^https?://{CHARACTER}+$")
    """The OpenAI-compatible address of the model that judges, for `Judge`, for example `https://host/v1`."""
    model: str | None = Field(default=None, min_length=1, max_length=200)
    """The model that judges, for `Judge`."""
    criteria: str | None = Field(default=None, min_length=1, max_length=4000)
    """What a good answer is, for `Judge`."""
    constrained: bool = False
    """Whether the model may write nothing but JSON that satisfies `dataset.responseSchema`, as a server that is asked
    for structured outputs has it, for `JSON` and `Classification`; an answer that `maxNewTokens` cuts off still breaks
    it. vLLM answers then.
    """

    rules: ClassVar = (
        Rule(
            "!(has(self.labelField) || has(self.languageField)) || self.type == 'Classification'",
            "only `Classification` takes `labelField` and `languageField`",
            lambda suite: not (suite.label_field or suite.language_field) or suite.type == "Classification",
        ),
        Rule(
            "(self.type == 'Judge') ? (has(self.url) && has(self.model)) "
            ": !(has(self.url) || has(self.model) || has(self.criteria))",
            "`Judge` needs `url` and `model`; no other suite takes `url`, `model` or `criteria`",
            lambda suite: (
                bool(suite.url and suite.model)
                if suite.type == "Judge"
                else not (suite.url or suite.model or suite.criteria)
            ),
        ),
        Rule(
            "(self.type == 'Harness') ? (has(self.cases) && size(self.tasks) > 0) : size(self.tasks) == 0",
            "`Harness` needs `tasks` and `cases`, the folder that defines them; no other suite takes `tasks`",
            lambda suite: bool(suite.tasks and suite.cases) if suite.type == "Harness" else not suite.tasks,
        ),
        Rule(
            "self.type != 'Perplexity' || !has(self.cases)",
            "`Perplexity` is measured on the test rows and takes no `cases`: leave them out",
            lambda suite: suite.type != "Perplexity" or suite.cases is None,
        ),
        Rule(
            "!self.constrained || self.type in ['JSON', 'Classification']",
            "only answers that `JSON` and `Classification` judge are `constrained`",
            lambda suite: not suite.constrained or suite.type in {"JSON", "Classification"},
        ),
    )


class Gate(Schema):
    """What a metric must be like, or the result is not published. What was measured decides; `status.evaluation.gates`
    says whether as many rows as were asked can tell.
    """

    metric: str = Field(min_length=1, max_length=200)
    """The metric, as `status.evaluation.metrics` names it, `SUITE/METRIC`, for example `action/accuracy`."""
    min: float | None = Field(default=None, ge=-1e12, le=1e12)
    """It must be at least this."""
    above: float | None = Field(default=None, ge=-1e12, le=1e12)
    """It must be more than this."""
    max: float | None = Field(default=None, ge=-1e12, le=1e12)
    """It must be at most this."""
    vs_alias: Alias | None = None
    """It must not be worse than that of the version that holds this alias in MLflow, for example `production`. Where
    none holds it there is nothing to be worse than.
    """
    max_regression_percent: float = Field(default=0.0, ge=0.0, le=100.0)
    """How much worse than that of `vsAlias` it may be."""

    rules: ClassVar = (
        Rule(
            "has(self.min) || has(self.above) || has(self.max) || has(self.vsAlias)",
            "a gate needs `min`, `above`, `max` or `vsAlias`",
            lambda gate: not (gate.min is None and gate.above is None and gate.max is None and gate.vs_alias is None),
        ),
        Rule(
            "!has(self.max) || ((!has(self.min) || self.min <= self.max) "
            "&& (!has(self.above) || self.above < self.max))",
            "`min` must not exceed `max`, and `above` must be less than it",
            lambda gate: (
                gate.max is None
                or ((gate.min is None or gate.min <= gate.max) and (gate.above is None or gate.above < gate.max))
            ),
        ),
        Rule(
            "!(has(self.min) && has(self.above))",
            "`min` and `above` bound the same side: give one",
            lambda gate: gate.min is None or gate.above is None,
        ),
        Rule(
            "has(self.vsAlias) || self.maxRegressionPercent == 0.0",
            "`maxRegressionPercent` compares with the version that holds `vsAlias`: name one",
            lambda gate: gate.vs_alias is not None or gate.max_regression_percent == 0,
        ),
    )


class Evaluation(Schema):
    """What the tuned model is asked before it is published."""

    suites: MapByName[Suite] = Field(default=[], max_length=8)
    """The ways of judging; without any, the answers are kept and nothing is measured."""
    gates: list[Gate] = Field(default=[], max_length=16)
    """What the metrics must be like; the job fails where they are not, and publishes nothing."""
    max_rows: int = Field(default=500, ge=1, le=1000000)
    """How many test rows, and how many of each suite's own cases, are asked at most: where there are more, a sample in
    which each label (`dataset.split.stratifyBy`, else `dataset.columns.label`) has its share.
    """
    max_new_tokens: int = Field(default=256, ge=1, le=32768)
    """After how many tokens an answer is cut off."""
    engine: Engine = "Auto"
    """Who answers the questions. `Transformers` needs no start, and answers in small batches on one GPU. `VLLM` lays
    the model over all of the stage's GPUs and answers many questions at once, but takes about a minute to start for
    each model; it runs in the server's image, before the evaluation proper. `Auto` takes the one that is predicted to
    be done sooner: Transformers without a GPU and with few rows, unless a suite is `constrained`. What vLLM cannot run
    is answered by Transformers under `Auto`, and fails under `VLLM`.
    """
    compare_base: bool = True
    """Whether the base is asked too, and the difference told with its confidence interval; a new (`Random`) base never
    is.
    """
    secret_ref: LocalReference | None = None
    """The Secret with the judge's `JUDGE_API_KEY`; its keys become environment variables of the evaluation."""

    rules: ClassVar = (
        Rule(
            "self.gates.all(gate, self.suites.exists(suite, gate.metric.startsWith(suite.name + '/')))",
            "`gates[].metric` is SUITE/METRIC: name one of `suites`",
            lambda evaluation: all(
                any(gate.metric.startswith(f"{suite.name}/") for suite in evaluation.suites)
                for gate in evaluation.gates
            ),
        ),
        Rule(
            "self.engine != 'Transformers' || !self.suites.exists(suite, suite.constrained)",
            "`constrained` needs vLLM: set `engine` to `VLLM` or `Auto`",
            lambda evaluation: (
                evaluation.engine != "Transformers" or not any(suite.constrained for suite in evaluation.suites)
            ),
        ),
    )
