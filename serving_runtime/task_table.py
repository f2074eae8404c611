"""What the task API is told of a namespace's versions: how each is asked, and what its answers look like.

Which version answers is not in it: a router says so for each request. Versions of one job's settings share their rules,
so that a hundred of them fit into a ConfigMap.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

__all__ = ["TaskDictionary", "TaskRules", "TaskTable"]


class _Told(BaseModel):
    """Part of what another release may tell, which may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class TaskDictionary(_Told):
    """The words that an answer may use, where a request brings them itself."""

    field: str
    """Where the answer names them: the path of an object, or of a list of objects."""
    levels: list[str]
    """The fields of such an object that lead into the dictionary, the outermost first."""
    context: str
    """The prompt's field that holds the dictionary."""


class TaskRules(_Told):
    """How a version was asked in training."""

    format: Literal["Chat", "Text"] = "Chat"
    text: str | None = None
    text_without_input: str | None = None
    defaults: dict[str, str] = {}
    remove_pattern: str | None = None
    collapse_whitespace: bool = False
    response_schema: dict[str, Any] | None = None
    dictionary: TaskDictionary | None = None


class TaskVersion(_Told):
    """One ModelVersion."""

    model: str
    rules: str


class TaskTable(_Told):
    """All versions, and the rules that they name."""

    versions: dict[str, TaskVersion] = {}
    rules: dict[str, TaskRules] = {}

    @classmethod
    def of(cls, versions: dict[str, tuple[str, TaskRules]]) -> Self:
        """Return the table of versions by name, each with its model and rules; the same rules stand there once."""
        names: dict[str, str] = {}
        told, rules = {}, {}
        for version, (model, own) in sorted(versions.items()):
            name = names.setdefault(own.model_dump_json(), f"rules-{len(names) + 1}")
            told[version], rules[name] = TaskVersion(model=model, rules=name), own
        return cls(versions=told, rules=rules)

    def rules_of(self, version: str) -> TaskRules | None:
        """Return how a version is asked; None of one that is not known."""
        found = self.versions.get(version)
        return self.rules.get(found.rules) if found else None

    def models(self) -> list[str]:
        """Return the models of all versions."""
        return sorted({version.model for version in self.versions.values()})
