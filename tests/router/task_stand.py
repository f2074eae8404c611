"""A client before the real router, the task API behind it, and a model's server that is played."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving_runtime.plan import (
    TASKS_KEY_VARIABLE,
    ExperimentRoute,
    KeyRoute,
    ModelRoute,
    RouteTable,
    Target,
    TaskRules,
    TaskTable,
    VariantRoute,
)
from serving_runtime.task_table import TaskDictionary
from tests.support.tasks import tasks, write_rules
from toolbox.polling import poll

from .stand import KEYS, SALT, Answer, Stand, standing
from .task_engine import TaskEngine, task_engine

__all__ = ["CLAIMS", "DICTIONARY", "MAILS", "TaskStand", "task_stand"]

MAILS = TaskRules(response_schema={"type": "object", "properties": {"action": {"enum": ["BLOCK", "ALLOW"]}}})
DICTIONARY = '{"시공 불만": {"재발": ["방역 뒤 재발"], "재방문": ["재방문 요청"]}, "문의": {"비용": ["비용 문의"]}}'
_CATEGORY = {name: {"type": "string"} for name in ("대분류", "중분류", "소분류", "근거")}
_CATEGORIES = {"type": "array", "items": {"type": "object", "properties": _CATEGORY, "required": ["근거"]}}
CLAIMS = TaskRules(
    format="Text",
    text="### Instruction:\n{instruction}\n\n[Voice]: {input}\n[Dict]: {category_dict}\n\n### Response:\n{output}",
    defaults={"instruction": "JSON으로 답하라.", "category_dict": DICTIONARY},
    remove_pattern=r"[^a-zA-Z0-9가-힣\s]",
    collapse_whitespace=True,
    response_schema={"type": "object", "properties": {"is_claim": {"type": "string"}, "categories": _CATEGORIES}},
    dictionary=TaskDictionary(field="categories", levels=["대분류", "중분류", "소분류"], context="category_dict"),
)


@dataclass
class TaskStand:
    """`engine` answers as all versions."""

    router: Stand
    engine: TaskEngine
    rules: Path

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask at the router's port."""
        return self.router.ask(path, body, Content_Type="application/json", **headers)

    def until(self, holds: Callable[[], bool]) -> bool:
        """Wait for it."""
        return poll(holds, 20, every=0.05)


def _table(port: int) -> RouteTable:
    experiment = ExperimentRoute(
        name="x",
        uid="uid",
        salt=SALT,
        keys=[KeyRoute(kind="header", name="x-user-id"), KeyRoute(kind="body", name="user")],
        control="stable",
        variants=[
            VariantRoute(name="stable", target="one", up_to=5000),
            VariantRoute(name="tuned", target="two", up_to=10000),
        ],
    )
    names = {"one": "mails", "two": "mails", "three": "claims"}
    targets = {name: Target(host="127.0.0.1", port=port, model=name, public=model) for name, model in names.items()}
    return RouteTable(
        targets=targets,
        models={
            "mails": ModelRoute(default="one", named={"1": "one", "2": "two"}, experiments=[experiment]),
            "claims": ModelRoute(default="three", named={"production": "three"}),
        },
    )


@contextmanager
def task_stand(folder: Path) -> Iterator[TaskStand]:
    """Start all of it."""
    rules = folder / "versions.json"
    write_rules(rules, TaskTable.of({"one": ("mails", MAILS), "two": ("mails", MAILS), "three": ("claims", CLAIMS)}))
    with ExitStack() as stack:
        engine = stack.enter_context(task_engine())
        changes = {"/etc/anneal/tasks/": f"{folder}/tasks-"}
        router = stack.enter_context(standing(folder, changes, routes=_table(engine.port)))
        address = stack.enter_context(tasks(router.port, KEYS[TASKS_KEY_VARIABLE], rules))
        (folder / "tasks-address").write_text(address)
        made = TaskStand(router, engine, rules)
        assert poll(lambda: made.ask("/models/mails/predict", {}).status == 422, 20)
        yield made
