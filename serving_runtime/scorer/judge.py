"""One request to a judge: a model that grades an answer by criteria, and is told of nothing else.

It does not learn which variant, version or model answered: of the request it gets the conversation alone. What it is
sent and says stays in memory.
"""

import http.client
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving_runtime.scoring import JUDGE_KEYS_FOLDER, JUDGE_SCHEMA, JUDGE_SYSTEM, JudgePlan

__all__ = ["JudgeError", "Judging", "asked_of", "score_in"]

_LARGEST_ANSWER, _MOST_TOKENS = 1 << 20, 1024
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504}


@dataclass
class JudgeError(Exception):
    """The judge gave no score; another try may get one where it `passes`."""

    why: str
    passes: bool


@dataclass(frozen=True)
class Judging:
    """What an answer is graded by."""

    plan: JudgePlan
    keys: Path = Path(JUDGE_KEYS_FOLDER)

    def grade(self, conversation: Sequence[dict[str, str]], said: str) -> float:
        """Ask once; raise JudgeError where no score comes of it."""
        try:
            return score_in(self._ask(json.dumps(asked_of(self.plan, conversation, said)).encode()))
        except (OSError, http.client.HTTPException) as error:
            raise JudgeError(f"the judge does not answer: {type(error).__name__}", passes=True) from error

    def _ask(self, body: bytes) -> bytes:
        to = urlsplit(self.plan.url)
        kind = http.client.HTTPSConnection if to.scheme == "https" else http.client.HTTPConnection
        more = {"context": ssl.create_default_context()} if to.scheme == "https" else {}
        connection = kind(str(to.hostname), to.port, timeout=self.plan.seconds, **more)
        try:
            connection.request("POST", f"{to.path.rstrip('/')}/chat/completions", body, self._headers())
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:  # what it says may repeat what it was asked
                raise JudgeError(f"the judge answers {answer.status}", passes=answer.status in _PASSING)
            return answer.read(_LARGEST_ANSWER)
        finally:
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if not self.plan.key_file:
            return headers
        try:
            key = (self.keys / self.plan.key_file).read_text().strip()
        except (OSError, ValueError) as error:
            raise JudgeError("the judge's key is not there", passes=False) from error
        return {**headers, "Authorization": f"Bearer {key}"}


def asked_of(plan: JudgePlan, conversation: Sequence[dict[str, str]], said: str) -> dict[str, Any]:
    """Return the request. What clients and models wrote is data in it, and no message of its own."""
    data = {"criteria": plan.criteria, "conversation": list(conversation), "answer": said}
    schema = {"name": "grade", "strict": True, "schema": JUDGE_SCHEMA}
    return {
        "model": plan.model,
        "messages": [
            {"role": "system", "content": JUDGE_SYSTEM},
            {"role": "user", "content": json.dumps(data, ensure_ascii=False)},
        ],
        "temperature": 0,
        "max_tokens": _MOST_TOKENS,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def score_in(content: bytes) -> float:
    """Return the score of the judge's answer; raise JudgeError where it has none."""
    try:
        said = json.loads(json.loads(content)["choices"][0]["message"]["content"])
        score = said["score"]
    except (IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise JudgeError("the judge gave no score", passes=False) from error
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise JudgeError("the judge gave no score from 0 to 1", passes=False)
    return float(score)
