"""Every model's answers to every row that is asked: by transformers here, or by vLLM, as they lie on the volume."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training_runtime.committed import verified_digest
from training_runtime.errors import DataError, PlanError
from training_runtime.plan import Engine, Plan, Questions
from training_runtime.prepared import verified_dataset
from training_runtime.workspace import cases_folder

from .answers import answers
from .asked import Asked, Exchange, rows_to_ask
from .asking import Asking, Question
from .questions import Ids, RowSet, answers_on_volume, questions_text, row_sets, write_questions

__all__ = ["answered", "ask"]


def ask(plan: Plan) -> Questions:
    """Write the questions that vLLM is to answer: the very tokens that transformers would be asked."""
    to_ask = _ToAsk(plan)
    write_questions(plan, to_ask.text)
    return Questions(questions=sum(map(len, to_ask.questions.values())))


def answered(plan: Plan, models: Mapping[str, Path], engine: Engine) -> tuple[dict[RowSet, Asked], Engine]:
    """Return all rows with every model's answers, and who gave them."""
    to_ask = _ToAsk(plan)
    if engine == "VLLM":
        found = {name: answers_on_volume(plan, name, to_ask.text) for name in models}
        if all(found.values()):
            for name, ids in found.items():
                to_ask.take(name, ids)
            return to_ask.rows, "VLLM"
    else:
        _refuse_constraints(plan)
    for name, folder in models.items():
        to_ask.take(name, {rows: _generated(plan, to_ask, folder, rows) for rows in to_ask.rows})
    return to_ask.rows, "Transformers"


class _ToAsk:
    """The rows that are asked, the questions that they make, and what is made of the answers."""

    def __init__(self, plan: Plan) -> None:
        verified_dataset(plan)
        _check_cases(plan)
        self._plan, self.asking = plan, Asking(plan)
        self.rows: dict[RowSet, Asked] = {rows: rows_to_ask(plan, rows.path) for rows in row_sets(plan)}
        self.questions: dict[RowSet, list[Question]] = {
            rows: [self.asking.question(messages[:-1]) for messages in one.conversations]
            for rows, one in self.rows.items()
        }

    @property
    def text(self) -> str:
        """The questions as the volume has them."""
        ids = {rows: [question.ids for question in one] for rows, one in self.questions.items()}
        return questions_text(self._plan, ids, self.asking.ends)

    def take(self, name: str, found: Mapping[RowSet, Ids]) -> None:
        """Read what a model answered."""
        for rows, one in self.rows.items():
            pairs = list(zip(self.questions[rows], found[rows], strict=True))
            one.answers[name] = [self.asking.answer(question, ids) for question, ids in pairs]
            if name == "tuned":
                one.exchanges = [Exchange(question.ids, self.asking.ended(ids)) for question, ids in pairs]


def _generated(plan: Plan, to_ask: _ToAsk, folder: Path, rows: RowSet) -> Ids:
    questions: Sequence[Question] = to_ask.questions[rows]
    settings, trust = plan.evaluation, plan.base.trust_remote_code
    return answers(folder, questions, to_ask.asking.ends, settings.max_new_tokens, seed=settings.seed, trust=trust)


def _refuse_constraints(plan: Plan) -> None:
    for suite in plan.evaluation.suites:
        if suite.constrained:
            raise PlanError(
                f"suite {suite.name} is constrained, which vLLM alone can do: set evaluation.engine to VLLM, and run "
                "the ask and the answer step first"
            )


def _check_cases(plan: Plan) -> None:
    suites = [suite for suite in plan.evaluation.suites if suite.own_cases]
    for suite in suites:
        if suite.type == "Perplexity":
            raise PlanError(f"suite {suite.name} has a path: perplexity is that of the test rows, leave it out")
    if suites and not verified_digest(cases_folder(plan)):
        raise DataError("the suites' cases are not prepared: run the prepare stage first")
