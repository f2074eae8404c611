"""The summary finds its numbers under the names that the operator and the publish stage give them."""

from typing import Any, cast

import pytest

from anneal_operator.api.ab_experiment_status import ABExperimentStatus
from anneal_operator.api.fine_tune_job_status import FineTuneJobStatus
from anneal_operator.api.model_version import ModelVersionStatus
from demo import summary as module
from demo.commands import Commands
from demo.story import BASE, TUNED, Example, Story
from demo.summary import summary
from demo.users import Answer, Mail

NOW = "2026-01-01T00:00:00Z"
JOB = {
    "progress": {"summary": "90/90 100%"},
    "dataset": {
        "rows": 2640,
        "rejected": 0,
        "duplicatesRemoved": 76,
        "piiMasked": 178,
        "tokens": 1,
        "p99Tokens": 1,
        "truncatedPercent": 0,
        "splits": {"train": 2244, "validation": 132, "test": 264},
        "digest": "sha256:0",
    },
    "mlflow": {"runId": "run", "experiment": "spam-filter", "url": "http://mlflow"},
}
VERSION = {"registry": {"version": "2", "url": "http://mlflow", "aliases": ["production"]}}
EXPERIMENT = {
    "phase": "Promoted",
    "variants": [
        {
            "name": name,
            "weight": 50,
            "metrics": [{"name": "user_rating", "users": users, "mean": mean, "stddev": 0.8}],
        }
        for name, users, mean in (("stable", 74, 3.04), ("tuned", 76, 4.08))
    ],
    "sampleRatio": {"pValue": 0.87},
    "decision": {
        "outcome": "Winner",
        "winner": "tuned",
        "rule": "Welch",
        "reason": "tuned is better",
        "decidedAt": NOW,
        "snapshot": "{}",
    },
}
VARIANTS = [
    {"name": "stable", "modelVersionRef": {"name": BASE}},
    {"name": "tuned", "modelVersionRef": {"name": TUNED}},
]


class _Cluster:
    """Answers as the API server does after a demo."""

    def get(self, kind: str, *_: str) -> dict[str, Any]:
        """Return the only object of the kind, its status as the definition allows it."""
        if kind == "finetunejob":
            return {"status": FineTuneJobStatus.parse(JOB).dump()}
        if kind == "modelversion":
            return {"status": ModelVersionStatus.parse(VERSION).dump()}
        return {"spec": {"variants": VARIANTS}, "status": ABExperimentStatus.parse(EXPERIMENT).dump()}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> str:
    """The summary of a demo that went well."""
    metrics = {"loss": 0.01, "action/accuracy": 0.96, "base/action/accuracy": 0.487, "answer/json_validity": 1.0}
    monkeypatch.setattr(module, "run_metrics", lambda *_: metrics)
    story = Story(cast("Commands", _Cluster()), images={})
    story.before = [Answer("user-0", BASE, None, None, right=True)]
    story.during = [
        Answer("user-0", BASE, "stable", "1", right=False),
        Answer("user-1", TUNED, "tuned", "2", right=True),
    ]
    story.example = Example(Mail("Decide.\n{}", "ALLOW", "ko"), {BASE: "in English", TUNED: "한국어로"})
    return "\n".join(summary(story))


def test_it_compares_the_two_models_on_the_same_rows(told: str) -> None:
    assert "accuracy 0.487 on the tuned version's test rows" in told
    assert "accuracy 0.960 on the tuned version's test rows" in told


def test_it_shows_both_answers_to_one_mail(told: str) -> None:
    assert f"{BASE}: in English" in told
    assert f"{TUNED}: 한국어로" in told


def test_it_tells_of_the_users_the_ratings_and_the_verdict(told: str) -> None:
    assert "2 users got 2 answers" in told
    assert "stable 3.04 from 74 users; tuned 4.08 from 76 users" in told
    assert "tuned is better" in told
    assert f"{TUNED} answers everybody, the alias production is on version 2, {BASE} is scaled down" in told
