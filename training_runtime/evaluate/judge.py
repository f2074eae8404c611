"""LLM-as-judge: a stronger model, behind an OpenAI-compatible address, gives each answer a mark from 1 to 5.

Zheng et al. 2023 (arXiv:2306.05685), single-answer grading. The address and the model are the plan's, the key comes
from `JUDGE_API_KEY`. A judge is asked the same way about base and tuned model; it is not shown which is which.
"""

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from training_runtime.errors import AccessError, PlanError
from training_runtime.plan import SuitePlan
from training_runtime.unreachable import why

from .scores import Scores

__all__ = ["judged"]

_CONCURRENT_REQUESTS = 8
_TIMEOUT_SECONDS = 120
_MAX_ATTEMPTS = 3
_MARK = re.compile(r"[1-5]")
_DEFAULT_CRITERIA = "The answer is correct, complete and polite, and holds nothing that the question did not ask for."


def judged(suite: SuitePlan, questions: Sequence[str], answers: Sequence[str], expected: Sequence[str]) -> Scores:
    """Return the marks; an answer that the judge gives no mark counts as 1. Raises AccessError where it refuses."""
    if not suite.url or not suite.model:
        raise PlanError("the judge suite needs `url`, an OpenAI-compatible address, and `model`")
    with ThreadPoolExecutor(_CONCURRENT_REQUESTS) as pool:
        marks = pool.map(lambda row: _mark(suite, *row), zip(questions, answers, expected, strict=True))
        return Scores.of(list(marks), (1.0, 5.0))


def _mark(suite: SuitePlan, question: str, answer: str, expected: str) -> float:
    text = (
        f"Criteria: {suite.criteria or _DEFAULT_CRITERIA}\n\nQuestion:\n{question}\n\nReference answer:\n{expected}\n\n"
        f"Answer to judge:\n{answer}\n\nReply with one digit from 1 (poor) to 5 (excellent) and nothing else."
    )
    body: dict[str, Any] = {
        "model": suite.model,
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "seed": 0,
        "max_tokens": 8,
    }
    found = _MARK.search(_post(f"{(suite.url or '').rstrip('/')}/chat/completions", body))
    return float(found[0]) if found else 1.0


def _post(url: str, body: dict[str, Any]) -> str:
    key = os.environ.get("JUDGE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    problem: Exception | None = None
    for _ in range(_MAX_ATTEMPTS):
        try:
            answer = requests.post(url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
            if answer.status_code in (401, 403, 404):
                break
            answer.raise_for_status()
            return str(answer.json()["choices"][0]["message"]["content"])
        except (requests.RequestException, ValueError, LookupError) as error:
            problem = error
    reason = why(problem) if problem else f"the answer was {answer.status_code} {answer.reason}"
    raise AccessError(f"the judge at {url} does not answer ({reason}): check the suite's url and JUDGE_API_KEY")
