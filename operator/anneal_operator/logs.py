"""One JSON object per log line; what is said during a look at an object carries kind, name and the look's number."""

import json
import logging
import os
from contextvars import ContextVar
from datetime import UTC, datetime

from typing_extensions import override

__all__ = ["LOOK", "JsonFormatter", "configure"]

LOOK: ContextVar[dict[str, str] | None] = ContextVar("look", default=None)
"""The look that is under way in this task."""


class JsonFormatter(logging.Formatter):
    """A line that Loki and the like can take apart."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **(LOOK.get() or {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure() -> None:
    """Have everything logged that way; of the libraries only what went wrong."""
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")  # on import it would log in a format of its own
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("aiohttp.access", "kopf", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
