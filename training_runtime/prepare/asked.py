"""Whether evaluation can judge the rows that it will ask: told at once, as evaluation comes after the training."""

import orjson

from training_runtime.errors import DataError, PlanError
from training_runtime.plan import Plan, RowTemplate, SuitePlan
from training_runtime.prepared import part_files
from training_runtime.rows.conversations import at_path
from training_runtime.rows.prompted import prompted_tokenizer
from training_runtime.rows.prompting import Prompting
from training_runtime.workspace import cases_folder, cases_name

__all__ = ["check_answers", "check_suites"]


def check_suites(plan: Plan, template: RowTemplate) -> None:
    """Raise DataError where a suite asks rows of plain text, which ask nothing."""
    if template != "Text":
        return
    for suite in plan.evaluation.suites:
        if suite.needs_answers and not suite.path:
            raise DataError(
                f"suite {suite.name} asks the test rows, and plain text asks nothing: use Perplexity, or give it cases "
                "of its own"
            )


def check_answers(plan: Plan) -> None:
    """Raise DataError where the answer of a row that is asked has no label, PlanError where none can be constrained."""
    _check_constrained(plan)
    for suite in plan.evaluation.suites:
        if suite.label_field:
            _check_labels(plan, suite, suite.label_field)


def _check_constrained(plan: Plan) -> None:
    """A schema binds an answer from its first token, which some families begin with words of the template's."""
    constrained = [suite.name for suite in plan.evaluation.suites if suite.constrained]
    if not constrained:
        return
    prompting = Prompting(prompted_tokenizer(plan))
    question, answer = {"role": "user", "content": "a"}, {"role": "assistant", "content": "{}"}
    try:
        [example] = prompting.examples([question, answer])
    except (DataError, PlanError):  # a template that asks for more than a question
        return
    before = example.text[len(prompting.prompt([question])) :].partition("{}")[0].strip()
    if before:
        raise PlanError(
            f"suite {constrained[0]} is constrained, and this model's chat template begins each answer with {before}, "
            "which the schema forbids: leave suites[].constrained out"
        )


def _check_labels(plan: Plan, suite: SuitePlan, field: str) -> None:
    from pyarrow.parquet import read_table

    where = cases_folder(plan) / cases_name(suite.path) if suite.path else None
    files = [str(path) for path in sorted(where.glob("*.parquet"))] if where else part_files(plan, "test")
    for file in files:
        for text in read_table(file, columns=["messages"])["messages"].to_pylist():
            answer = orjson.loads(text)[-1]["content"]
            try:
                at_path(answer, field)
            except KeyError:
                raise DataError(
                    f"suite {suite.name}: a row's answer has no `{field}`: mend the data, or the suite's labelField "
                    f"({answer[:80]!r})"
                ) from None
