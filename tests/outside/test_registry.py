"""Registering and aliases, by MLflow's own client on a server that speaks its REST API."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest

from anneal_operator.api.model_version import ModelVersionSpec
from anneal_operator.errors import ForeignModelError, RefusedVersionError, RegistryError
from anneal_operator.outside import registry as module
from anneal_operator.outside.registry import MlflowRegistry, Registered, RegisteredModel, Registration, RunAtWork

from .mlflow_server import MlflowServer, mlflow_server

UID, NAME, DIGEST = "anneal.dev/model-version-uid", "anneal.dev/model-version", "anneal.dev/digest"
TAGS = {"anneal.dev/namespace": "team", UID: "u1", NAME: "spam-1", DIGEST: "sha256:1"}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowServer]:
    """An empty MLflow, whose client does not try again: each error would take it seconds."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with mlflow_server() as server:
        yield server


def _register(
    registry: MlflowRegistry, *, uid: str = "u1", run_id: str = "", name: str = "spam-1", digest: str = "sha256:1"
) -> Registered:
    wanted = Registration("team", name, uid, "spam", "mlflow-artifacts:/1/m", digest, run_id)
    return asyncio.run(registry.register(wanted))


def test_a_new_version_carries_its_origin(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url, "https://mlflow.example.com/")
    url = "https://mlflow.example.com/#/models/spam/versions/1"
    assert _register(registry) == Registered("spam", "1", (), "mlflow-artifacts:/1/m", "sha256:1", url)
    assert mlflow.tags("spam", "1") == TAGS


def test_registering_again_writes_nothing(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    first = _register(registry)
    mlflow.writes.clear()
    assert _register(registry) == first
    assert mlflow.writes == []


def test_each_uid_has_a_version_of_its_own(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    versions = [_register(registry, uid=uid, name=f"spam-{uid}").version for uid in ("u1", "u2", "u1")]
    assert versions == ["1", "2", "1"]


def test_a_manifest_that_is_applied_again_stays_the_version_that_it_was(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    assert _register(registry).version == "1"
    mlflow.aliases["spam", "production"] = "1"
    assert _register(registry, uid="u2").aliases == ("production",)
    assert mlflow.tags("spam", "1") == TAGS | {UID: "u2"}
    assert _register(registry, uid="u3", digest="sha256:2").version == "2", "another artifact is another version"
    assert _register(registry, uid="u4", name="spam-2").version == "3"


def test_a_backend_is_registered_though_mlflow_takes_no_address_of_a_server(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    spec = ModelVersionSpec.parse({"modelName": "spam", "backend": {"url": "https://api.example.com/v1"}})
    made = Registration("team", "spam-1", "u1", "spam", spec.source, spec.digest, "")
    assert asyncio.run(registry.register(made)).uri == "backend-https://api.example.com/v1/models"
    with pytest.raises(RefusedVersionError, match="'http' scheme"):
        asyncio.run(registry.register(replace(made, uid="u2", name="other", uri="https://api.example.com/v1/models")))


def test_what_is_no_answer_of_mlflow_s_is_told(mlflow: MlflowServer) -> None:
    for answer, words in (
        ('{"registered_model": {"name": "spam", "tags": "x"}}', "cannot be read"),
        ('{"status": "maintenance"}', "is this MLflow"),
    ):
        mlflow.answers_with = 200, answer
        with pytest.raises(RegistryError, match=words):
            asyncio.run(MlflowRegistry(mlflow.url).describe("spam"))


def test_the_version_that_the_jobs_run_registered_is_taken(mlflow: MlflowServer) -> None:
    mlflow.add("spam", run_id="another")
    mlflow.add("spam", run_id="run", source="mlflow-artifacts:/1/m")
    assert _register(MlflowRegistry(mlflow.url), run_id="run").version == "2"
    assert mlflow.tags("spam", "2") == TAGS
    assert mlflow.tags("spam", "1") == {}
    assert len(mlflow.versions) == 2


@pytest.mark.parametrize("run_id", ["", "run"], ids=["a version of its own", "its run's version"])
def test_registering_is_finished_wherever_it_was_cut_off(mlflow: MlflowServer, run_id: str) -> None:
    registry, after = MlflowRegistry(mlflow.url), -1
    done: Registered | None = None
    while done is None:
        after += 1
        mlflow.models.clear()
        mlflow.versions.clear()
        mlflow.writes.clear()
        if run_id:
            mlflow.add("spam", run_id=run_id, source="mlflow-artifacts:/1/m")
        mlflow.dies_after = after
        try:
            done = _register(registry, run_id=run_id)
        except RegistryError:
            mlflow.dies_after = None
            found = _register(registry, run_id=run_id)
            assert (found.version, found.digest) == ("1", "sha256:1")
            assert [version["tags"] for version in mlflow.versions] == [TAGS]
    assert after >= 2, "it was cut off before each write"


@pytest.mark.parametrize(
    ("run_id", "told"),
    [("", "names no run"), ("nobody", "names run nobody"), ("another", "names run another")],
)
def test_a_version_whose_weights_are_in_no_run_that_it_names_is_refused_with_the_field(
    mlflow: MlflowServer, run_id: str, told: str
) -> None:
    mlflow.artifact_roots = {"run": "mlflow-artifacts:/1", "another": "mlflow-artifacts:/2"}
    registry = MlflowRegistry(mlflow.url)
    with pytest.raises(RefusedVersionError, match=r"`provenance\.mlflowRunId`") as refused:
        _register(registry, run_id=run_id)
    assert told in str(refused.value)
    assert "The run_id request parameter must identify the resource" in str(refused.value), "MLflow's own words"
    assert mlflow.versions == []
    assert _register(registry, run_id="run").version == "1"


def test_a_version_that_mlflow_cannot_take_just_now_is_not_refused(mlflow: MlflowServer) -> None:
    mlflow.denies = "model-versions/create"
    with pytest.raises(RegistryError, match="rejected the operator's credentials") as error:
        _register(MlflowRegistry(mlflow.url))
    assert not isinstance(error.value, RefusedVersionError)


def test_a_model_that_may_not_be_made_is_no_model_that_exists(mlflow: MlflowServer) -> None:
    mlflow.denies = "registered-models/create"
    with pytest.raises(RegistryError, match="rejected the operator's credentials"):
        _register(MlflowRegistry(mlflow.url))
    assert mlflow.versions == []


def test_of_two_operators_that_register_at_once_one_takes_its_own_back(mlflow: MlflowServer) -> None:
    mlflow.before_create = [{"name": "spam", "tags": TAGS, "source": "mlflow-artifacts:/1/m"}]
    assert _register(MlflowRegistry(mlflow.url)).version == "1"
    assert [version["version"] for version in mlflow.versions] == ["1"]


def test_of_two_versions_with_one_uid_the_first_counts(mlflow: MlflowServer) -> None:
    for _ in range(11):  # "10" sorts before "2"
        mlflow.add("spam")
    for version in ("2", "10", "11"):
        mlflow.tags("spam", version).update(TAGS)
    assert _register(MlflowRegistry(mlflow.url)).version == "2"


def _move(registry: MlflowRegistry, expected: str, version: str) -> None:
    asyncio.run(registry.move_alias("team", "spam", "production", expected, version))


def test_an_alias_moves_where_it_is_still_the_expected_ones(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    for _ in range(3):
        mlflow.add("spam")
    held = []
    for expected, version in (("1", "1"), ("1", "2"), ("1", "3")):
        _move(registry, expected, version)
        found = asyncio.run(registry.at_alias("spam", "production"))
        held.append(found.version if found else None)
    assert held == ["1", "2", "2"]


def test_an_alias_is_given_only_where_nobody_holds_it(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    for version in (mlflow.add("spam"), mlflow.add("spam")):
        asyncio.run(registry.give_alias("team", "spam", "production", version))
    assert asyncio.run(registry.describe("spam")) == RegisteredModel("team", {"production": "1"})


def _at_once(mlflow: MlflowServer, call: str) -> None:
    """Have one call on version 1 while version 2 is given `production`; each reads before the other writes."""
    for _ in range(2):
        mlflow.add("spam")
    mlflow.model_tags["spam"] = {"anneal.dev/namespace": "team"}
    mlflow.meets = threading.Barrier(2, timeout=0.5)
    registry = MlflowRegistry(mlflow.url)

    async def both() -> None:
        await asyncio.gather(CALLS[call](registry), registry.give_alias("team", "spam", "production", "2"))

    asyncio.run(both())


def test_of_two_versions_that_are_ready_together_one_is_given_production(mlflow: MlflowServer) -> None:
    _at_once(mlflow, "give_alias")
    assert mlflow.writes.count("POST registered-models/alias") == 1


def test_an_alias_of_the_spec_is_not_overwritten_by_one_that_is_given_meanwhile(mlflow: MlflowServer) -> None:
    _at_once(mlflow, "set_aliases")
    assert mlflow.aliases == {("spam", "production"): "1"}


def test_aliases_are_set_once_and_people_may_move_them(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    mlflow.add("spam")
    asyncio.run(registry.set_aliases("team", "spam", "1", ["base"]))
    mlflow.add("spam")
    mlflow.aliases["spam", "base"] = "2"
    asyncio.run(registry.set_aliases("team", "spam", "1", ["base", "golden"]))
    assert mlflow.aliases == {("spam", "base"): "2", ("spam", "golden"): "1"}
    assert mlflow.tags("spam", "1") == {"anneal.dev/aliases-set": "base,golden"}


def test_a_model_belongs_to_the_namespace_that_registered_it_first(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    _register(registry)
    other = Registration("other", "x", "u2", "spam", "mlflow-artifacts:/1/m", "sha256:1", "")
    mlflow.writes.clear()
    for call in (
        registry.register(other),
        registry.set_aliases("other", "spam", "1", ["production"]),
        registry.give_alias("other", "spam", "production", "1"),
        registry.move_alias("other", "spam", "production", "1", "1"),
        registry.record("other", "spam", "1", {"a": "b"}),
        registry.keep("other", "spam", "x-record-1", "{}"),
    ):
        with pytest.raises(ForeignModelError, match="belongs to namespace team"):
            asyncio.run(call)
    assert [write for write in mlflow.writes if "create" not in write] == []
    asyncio.run(MlflowRegistry(mlflow.url, shared=True).register(other))
    assert len(mlflow.versions) == 2


def test_nothing_is_known_of_a_model_that_does_not_exist(mlflow: MlflowServer) -> None:
    assert asyncio.run(MlflowRegistry(mlflow.url).describe("spam")) == RegisteredModel()


def test_nobody_holds_an_alias_of_a_model_that_has_none_or_does_not_exist(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    mlflow.add("spam")
    for model in ("spam", "unknown"):
        assert asyncio.run(registry.at_alias(model, "production")) is None
        assert asyncio.run(registry.metrics_at_alias(model, "production")) is None


def test_metrics_are_those_of_the_run_behind_the_alias(mlflow: MlflowServer) -> None:
    mlflow.add("spam", run_id="run")
    mlflow.add("spam")
    mlflow.metrics["run"] = {"accuracy": 0.9}
    mlflow.aliases |= {("spam", "production"): "1", ("spam", "imported"): "2"}
    registry = MlflowRegistry(mlflow.url)
    assert asyncio.run(registry.metrics_at_alias("spam", "production")) == {"accuracy": 0.9}
    assert asyncio.run(registry.metrics_at_alias("spam", "imported")) == {}, "no run made it"


def test_a_decisions_record_is_left_on_its_version(mlflow: MlflowServer) -> None:
    mlflow.add("spam")
    record = {"outcome": "Promoted", "rule": "primary"}
    asyncio.run(MlflowRegistry(mlflow.url).record("team", "spam", "1", record))
    assert mlflow.tags("spam", "1") == record


def test_the_record_of_an_experiment_is_kept_on_the_model_and_heard_with_its_aliases(mlflow: MlflowServer) -> None:
    registry = MlflowRegistry(mlflow.url)
    mlflow.add("spam")
    for text in ("begun", "decided"):
        asyncio.run(registry.keep("team", "spam", "x-record-1", text))
    asyncio.run(registry.keep("team", "spam", "y-record-2", "begun"))
    mlflow.model_tags["spam"]["a-person's"] = "own"
    records = {"team.x-record-1": "decided", "team.y-record-2": "begun"}
    assert asyncio.run(registry.describe("spam")) == RegisteredModel("team", {}, records)


CALLS: dict[str, Callable[[MlflowRegistry], Coroutine[Any, Any, Any]]] = {
    "register": lambda r: r.register(Registration("team", "spam-1", "u1", "spam", "s", "d", "")),
    "describe": lambda r: r.describe("spam"),
    "at_alias": lambda r: r.at_alias("spam", "production"),
    "metrics_at_alias": lambda r: r.metrics_at_alias("spam", "production"),
    "set_aliases": lambda r: r.set_aliases("team", "spam", "1", ["production"]),
    "give_alias": lambda r: r.give_alias("team", "spam", "production", "1"),
    "move_alias": lambda r: r.move_alias("team", "spam", "production", "1", "1"),
    "record": lambda r: r.record("team", "spam", "1", {"outcome": "Promoted"}),
    "keep": lambda r: r.keep("team", "spam", "x-record-1", "{}"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("dead", ["gone", "hangs up"])
def test_one_that_is_down_is_told_in_words(
    mlflow: MlflowServer, call: Callable[[MlflowRegistry], Coroutine[Any, Any, Any]], dead: str
) -> None:
    mlflow.dies_after = -1
    url = mlflow.url if dead == "hangs up" else "http://127.0.0.1:9"
    with pytest.raises(RegistryError, match=rf"^MLflow at {url} is not reachable$"):
        asyncio.run(call(MlflowRegistry(url)))


@pytest.mark.parametrize(
    ("status", "page", "words"),
    [
        (500, "<html>oops</html>", "answers with server errors; see its log"),
        (503, "<html>later</html>", "answers with server errors; see its log"),
        (401, "<html>log in</html>", r"rejected the operator's credentials \(UNAUTHENTICATED\)"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "no"}', r"rejected the operator's credentials \(PERM.*"),
        (404, "<html>no such page</html>", r"refused: .*\b404 != 200\."),
        (200, "<html>a portal</html>", r"refused: .*not in a valid JSON format\."),
        (
            400,
            '{"error_code": "INVALID_STATE", "message": "the store is being migrated"}',
            "refused: INVALID_STATE: the store is being migrated",
        ),
    ],
)
def test_an_error_is_told_in_words(mlflow: MlflowServer, status: int, page: str, words: str) -> None:
    mlflow.answers_with = status, page
    with pytest.raises(RegistryError, match=rf"^MLflow at {mlflow.url} {words}$"):
        asyncio.run(MlflowRegistry(mlflow.url).at_alias("spam", "production"))


def test_one_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DEADLINE_SECONDS", 0.2)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    async def run() -> None:
        connected: list[asyncio.StreamWriter] = []
        async with await asyncio.start_server(lambda _, writer: connected.append(writer), "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(RegistryError, match=rf"^MLflow at {url} did not answer within 0.2 s$"):
                await MlflowRegistry(url).at_alias("spam", "production")
            for writer in connected:
                writer.close()
                await writer.wait_closed()

    asyncio.run(run())


@pytest.mark.parametrize("call", ["register", "set_aliases", "give_alias", "move_alias", "record", "keep"])
def test_one_that_may_not_lead_writes_nothing(mlflow: MlflowServer, call: str) -> None:
    if call != "register":
        mlflow.add("spam")
    registry = MlflowRegistry(mlflow.url)
    registry.fence(lambda: False)
    with pytest.raises(RegistryError, match="another operator may lead"):
        asyncio.run(CALLS[call](registry))
    assert mlflow.writes == []
    registry.fence(lambda: True)
    asyncio.run(CALLS[call](registry))
    assert mlflow.writes


@pytest.mark.parametrize(
    ("run_id", "writes"),
    [*(("", number) for number in range(3)), *(("run", number) for number in range(5))],
)
def test_one_that_leads_no_more_stops_before_its_next_write(mlflow: MlflowServer, run_id: str, writes: int) -> None:
    if run_id:
        mlflow.add("spam", run_id=run_id)
    registry = MlflowRegistry(mlflow.url)
    registry.fence(lambda: len(mlflow.writes) < writes)
    with pytest.raises(RegistryError, match="another operator may lead"):
        _register(registry, run_id=run_id)
    assert len(mlflow.writes) == writes


def test_the_clients_own_patience_is_shorter_than_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    MlflowRegistry("http://mlflow")
    assert (os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"], os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) == ("1", "10")


def _run(uid: str) -> dict[str, Any]:
    return {"run_id": f"run-of-{uid}", "experiment_id": "7", "status": "RUNNING", "tags": {"anneal.dev/job-uid": uid}}


def test_the_run_of_a_failed_job_ends_and_says_why_and_no_other_does(mlflow: MlflowServer) -> None:
    mlflow.experiments["spam"] = "7"
    mlflow.runs += [_run("u1"), _run("u2")]
    asyncio.run(MlflowRegistry(mlflow.url).end_run("spam", "u1", "Diverged"))
    assert [run["status"] for run in mlflow.runs] == ["FAILED", "RUNNING"]
    assert mlflow.runs[0]["tags"]["anneal.dev/failure"] == "Diverged"
    assert mlflow.runs[1] == _run("u2")


@pytest.mark.parametrize("experiment", ["spam", "another"])
def test_a_job_without_a_run_has_none_to_end(mlflow: MlflowServer, experiment: str) -> None:
    mlflow.experiments["spam"] = "7"
    asyncio.run(MlflowRegistry(mlflow.url).end_run(experiment, "u1", "Data"))
    assert mlflow.writes == []


def test_an_operator_that_may_not_lead_any_more_ends_no_run(mlflow: MlflowServer) -> None:
    mlflow.experiments["spam"] = "7"
    mlflow.runs.append(_run("u1"))
    registry = MlflowRegistry(mlflow.url)
    registry.fence(lambda: False)
    with pytest.raises(RegistryError, match="another operator may lead"):
        asyncio.run(registry.end_run("spam", "u1", "Data"))
    assert mlflow.runs == [_run("u1")]


def test_the_runs_at_work_of_an_installation_are_found_in_every_experiment_and_end(mlflow: MlflowServer) -> None:
    mlflow.experiments |= {"spam": "7", "claims": "8", "team": "9"}
    mlflow.page = 2
    told = {"anneal.dev/installation": "here", "anneal.dev/job": "team/spam-1"}
    for number in range(3):
        mlflow.runs.append(_run(f"u{number}") | {"tags": {**told, "anneal.dev/job-uid": f"u{number}"}})
    elsewhere = {**told, "anneal.dev/installation": "there"}
    mlflow.runs.append(_run("theirs") | {"tags": elsewhere})
    mlflow.runs.append(_run("ended") | {"status": "FINISHED", "tags": told})
    mlflow.runs.append(_run("u9") | {"experiment_id": "9", "tags": {**told, "anneal.dev/job-uid": "u9"}})
    registry = MlflowRegistry(mlflow.url)
    found = asyncio.run(registry.runs_at_work("here"))
    assert found == [RunAtWork(f"run-of-{uid}", "team", "spam-1", uid) for uid in ("u0", "u1", "u2", "u9")]
    asyncio.run(registry.end_left_run("run-of-u1"))
    assert [run["status"] for run in mlflow.runs[:3]] == ["RUNNING", "KILLED", "RUNNING"]
    registry.fence(lambda: False)
    with pytest.raises(RegistryError, match="another operator may lead"):
        asyncio.run(registry.end_left_run("run-of-u2"))
    assert mlflow.runs[2]["status"] == "RUNNING"


def test_a_run_that_has_finished_since_it_was_found_stays_so(mlflow: MlflowServer) -> None:
    mlflow.experiments["spam"] = "7"
    mlflow.runs.append(_run("u1") | {"status": "FINISHED"})
    asyncio.run(MlflowRegistry(mlflow.url).end_left_run("run-of-u1"))
    assert mlflow.runs[0]["status"] == "FINISHED"
    assert mlflow.writes == []


def test_an_mlflow_without_experiments_has_no_runs(mlflow: MlflowServer) -> None:
    assert asyncio.run(MlflowRegistry(mlflow.url).runs_at_work("here")) == []


FILES = {"report.html": "<p>\u2714</p>", "record.json": "{}"}


def _keep_report(mlflow: MlflowServer, phase: str = "Promoted", namespace: str = "team") -> None:
    asyncio.run(MlflowRegistry(mlflow.url).keep_report(namespace, "spam", "x-record-1", phase, FILES))


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_report_is_kept_in_a_run_of_its_own_beside_those_that_trained_the_model(
    mlflow: MlflowServer, is_trained: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    mlflow.add("spam")
    if is_trained:
        mlflow.experiments["spam"] = "7"
        mlflow.runs.append(_run("u1"))
    _keep_report(mlflow)
    experiment, (*_, run) = mlflow.experiments["spam"], mlflow.runs
    assert (run["experiment_id"], run["status"]) == (experiment, "FINISHED")
    folder = f"{experiment}/{run['run_id']}/artifacts"
    assert mlflow.artifacts == {f"{folder}/{name}": text for name, text in FILES.items()}
    heard = asyncio.run(MlflowRegistry(mlflow.url).describe("spam"))
    assert (heard.reports, heard.records) == ({"team.x-record-1": f"{run['run_id']} Promoted"}, {})
    assert capfd.readouterr().out == "", "nothing stands between the lines of JSON"


def test_a_report_that_is_kept_again_is_in_the_same_run(mlflow: MlflowServer) -> None:
    mlflow.add("spam")
    _keep_report(mlflow)
    _keep_report(mlflow, "RolledBack")
    assert len(mlflow.runs) == 1
    heard = asyncio.run(MlflowRegistry(mlflow.url).describe("spam"))
    assert list(heard.reports.values()) == [f"{mlflow.runs[0]['run_id']} RolledBack"]


def test_a_report_is_finished_wherever_it_was_cut_off(mlflow: MlflowServer) -> None:
    mlflow.add("spam")
    _keep_report(mlflow)
    whole = len(mlflow.writes)
    for writes in range(1, whole):
        mlflow.runs.clear()
        mlflow.artifacts.clear()
        mlflow.experiments.clear()
        mlflow.model_tags.clear()
        mlflow.writes.clear()
        mlflow.dies_after = writes
        with pytest.raises(RegistryError):
            _keep_report(mlflow)
        mlflow.dies_after = None
        _keep_report(mlflow)
        assert [run["status"] for run in mlflow.runs] == ["FINISHED"]
        assert len(mlflow.artifacts) == len(FILES)


def test_another_namespaces_model_gets_no_report(mlflow: MlflowServer) -> None:
    mlflow.add("spam")
    _keep_report(mlflow)
    writes = len(mlflow.writes)
    with pytest.raises(ForeignModelError):
        _keep_report(mlflow, namespace="other")
    assert len(mlflow.writes) == writes
