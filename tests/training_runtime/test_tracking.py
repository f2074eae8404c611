"""The spool: a tracker that is away holds nothing up, and what was spooled is sent once."""

import json
import os
import signal
import time

import pytest
from mlflow import MlflowClient

from toolbox.polling import poll
from training_runtime.errors import DivergedError, PreemptedError
from training_runtime.plan import FAILURE_TAG, Plan
from training_runtime.prepare.stage import prepare
from training_runtime.tracking import Spool, job_run
from training_runtime.train.stage import train

from .conftest import MakePlan, MlflowServer


@pytest.fixture
def plan(make_plan: MakePlan, mlflow_server: MlflowServer) -> Plan:
    """A plan whose run goes to the real server."""
    return make_plan(tracking__uri=mlflow_server.url, tracking__experiment="tracking", tracking__tags={"team": "tests"})


@pytest.fixture
def client(mlflow_server: MlflowServer) -> MlflowClient:
    """A client of the real server."""
    return MlflowClient(mlflow_server.url)


def _points(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))


def test_a_job_has_one_run_with_its_tags(plan: Plan, client: MlflowClient) -> None:
    run = job_run(client, plan)
    assert job_run(client, plan).info.run_id == run.info.run_id
    assert run.data.tags["team"] == "tests"
    assert run.data.tags["anneal.dev/job"] == "tests/job"


def test_what_was_spooled_is_sent_once(plan: Plan, client: MlflowClient) -> None:
    spool = Spool(plan)
    for step in range(1200):
        spool.add(step, {"loss": float(step), "rate": 0.1})
    run_id = job_run(client, plan).info.run_id
    spool.replay(client, run_id)
    spool.replay(client, run_id)
    assert _points(client, run_id, "loss") == [(step, float(step)) for step in range(1200)]
    # A kill between sending and noting it: all of it is sent again, and MLflow keeps one of two equal points.
    (plan.workspace / "tracking/sent").unlink()
    Spool(plan).replay(client, run_id)
    assert len(_points(client, run_id, "rate")) == 1200


def test_a_step_that_is_done_again_is_not_logged_again(plan: Plan) -> None:
    first = Spool(plan)
    first.add(1, {"loss": 1.0})
    with (plan.workspace / "tracking/spool.jsonl").open("a") as file:
        file.write('{"step": 2, "half')
    second = Spool(plan)
    second.add(1, {"loss": 9.0, "eval_loss": 2.0})
    second.add(2, {"loss": 3.0})
    lines = [json.loads(line) for line in (plan.workspace / "tracking/spool.jsonl").read_text().splitlines()]
    assert [(line["step"], line["metrics"]) for line in lines] == [
        (1, {"loss": 1.0}),
        (1, {"eval_loss": 2.0}),
        (2, {"loss": 3.0}),
    ]


def test_curves_arrive_while_the_training_goes_on(plan: Plan, client: MlflowClient) -> None:
    prepare(plan)
    train(plan)
    run_id = job_run(client, plan).info.run_id
    history = json.loads((plan.workspace / "history.json").read_bytes())
    assert dict(_points(client, run_id, "loss")) == pytest.approx(
        {e["step"]: e["loss"] for e in history if "loss" in e}
    )
    for name in ("eval_loss", "eval_perplexity", "learning_rate", "tokens_per_second", "grad_norm"):
        assert _points(client, run_id, name), name


def test_a_run_tells_what_it_is_made_of_from_its_beginning(
    plan: Plan, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import SFTTrainer

    prepare(plan)
    seen: list[dict[str, str]] = []
    step = SFTTrainer.training_step

    def looking(self: SFTTrainer, *arguments: object, **named: object) -> object:
        if not seen and self.state.global_step == 2:
            assert poll(lambda: bool(job_run(client, plan).data.params), 60)
            seen.append(job_run(client, plan).data.params)
        return step(self, *arguments, **named)

    monkeypatch.setattr(SFTTrainer, "training_step", looking)
    train(plan)
    [parameters] = seen
    assert parameters["method"] == "Full"
    assert parameters["learning_rate"] == "0.002"
    assert parameters["dataset_digest"].startswith("sha256:")
    assert int(parameters["parameters"]) > 0
    assert job_run(client, plan).info.status == "RUNNING", "publishing ends it"


def test_parameters_that_an_earlier_attempt_noted_stay_as_they_are(plan: Plan, client: MlflowClient) -> None:
    run_id = job_run(client, plan).info.run_id
    for strategy, more in (("DDP", {}), ("ZeRO2", {"precision": "BF16", "digest": None})):
        spool = Spool(plan)
        spool.add_parameters({"strategy": strategy, **more})
        spool.replay(client, run_id)
    assert client.get_run(run_id).data.params == {"strategy": "DDP", "precision": "BF16"}


def test_a_training_that_fails_ends_its_run_and_one_that_goes_on_opens_it_again(
    make_plan: MakePlan, mlflow_server: MlflowServer, client: MlflowClient
) -> None:
    where = {"tracking__uri": mlflow_server.url, "tracking__experiment": "tracking"}
    plan = make_plan(**where, training__learning_rate=1e30, training__max_grad_norm=1e30, training__max_steps=30)
    prepare(plan)
    with pytest.raises(DivergedError):
        train(plan)
    run = job_run(client, plan)
    assert run.info.status == "FAILED"
    client.set_tag(run.info.run_id, FAILURE_TAG, "Diverged")  # as the operator does once the job has failed
    train(make_plan(**where))
    run = job_run(client, plan)
    assert run.info.status == "RUNNING"
    assert FAILURE_TAG not in run.data.tags


def test_the_run_of_a_training_that_was_asked_to_end_says_so_until_it_goes_on(
    plan: Plan, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_runtime.train.watch import StopRequest

    prepare(plan)
    with monkeypatch.context() as patched:
        agreed = StopRequest.agreed

        def asked(self: StopRequest) -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return agreed(self)

        patched.setattr(StopRequest, "agreed", asked)
        with pytest.raises(PreemptedError):
            train(plan)
    assert job_run(client, plan).info.status == "KILLED"
    train(plan)
    assert job_run(client, plan).info.status == "RUNNING"


def test_a_server_that_dies_and_comes_back_gets_every_point_once(
    plan: Plan, client: MlflowClient, mlflow_server: MlflowServer
) -> None:
    run_id = job_run(client, plan).info.run_id
    spool = Spool(plan)
    spool.start()
    spool.add(1, {"loss": 1.0})
    mlflow_server.stop()
    began = time.monotonic()
    for step in range(2, 50):
        spool.add(step, {"loss": float(step)})
    assert time.monotonic() - began < 2  # seconds; no step waits for the server
    mlflow_server.start()
    spool.close(60)
    assert _points(client, run_id, "loss") == [(step, float(step)) for step in range(1, 50)]


def test_without_a_server_a_training_ends_and_leaves_its_spool(make_plan: MakePlan) -> None:
    plan = make_plan(tracking__uri="http://127.0.0.1:9")
    prepare(plan)
    train(plan)
    assert (plan.workspace / "tracking/spool.jsonl").read_text().count('"loss"') == 8
    assert not (plan.workspace / "tracking/sent").exists()
