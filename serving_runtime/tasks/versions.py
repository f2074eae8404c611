"""The file that says how each version is asked: the operator writes it, and the kubelet mounts it."""

import logging
from pathlib import Path

from pydantic import ValidationError

from serving_runtime.task_table import TaskRules, TaskTable

__all__ = ["Versions"]

log = logging.getLogger("tasks")


class Versions:
    """What it said last; it is looked at again whenever it was written anew."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written = -1
        self._table = TaskTable()

    def rules_of(self, version: str) -> TaskRules | None:
        """Return how a version is asked; None of one that is not known."""
        return self.table().rules_of(version)

    def first_rules(self, model: str) -> TaskRules:
        """Return how some version of a model is asked: mostly all of them are, and the router says which answers."""
        name, table = model.partition("@")[0], self.table()
        of_model = [version for version, told in table.versions.items() if told.model == name]
        return (table.rules_of(of_model[-1]) if of_model else None) or TaskRules()

    def table(self) -> TaskTable:
        """Return all of it; the last one holds where it cannot be read."""
        try:
            written = self._file.stat().st_mtime_ns
            if written != self._written:
                self._table, self._written = TaskTable.model_validate_json(self._file.read_bytes()), written
        except (OSError, ValidationError) as error:
            log.warning("how versions are asked cannot be read, keeping what is known: %s", error)
        return self._table
