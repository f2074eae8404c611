"""The server starts on the published weights or not at all. A real HTTP server stands for MLflow's artifact proxy."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from serving_runtime import launch
from serving_runtime.adapter_folder import PLACES_VARIABLE, Places
from serving_runtime.launch import WeightsError, download
from serving_runtime.plan import ENGINE_KEY_VARIABLE, AdapterLimits, ServingPlan

from .test_adapter_folder import published as published_adapter
from .test_adapter_folder import served


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A published folder, under the path that MLflow's proxy would serve it."""
    folder = tmp_path / "www/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/model"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub/model.safetensors").write_bytes(b"0" * 3_000_000)
    files = {"config.json": folder / "config.json", "sub/model.safetensors": folder / "sub/model.safetensors"}
    listed = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))
    return folder


@pytest.fixture
def plan(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServingPlan]:
    """A plan for the published folder, with its server running."""
    monkeypatch.setattr(launch, "_ATTEMPTS", 1)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    digest = hashlib.sha256((published / "manifest.json").read_bytes()).hexdigest()
    yield ServingPlan(
        tracking_uri=f"http://127.0.0.1:{server.server_address[1]}",
        uri="mlflow-artifacts:/1/run/artifacts/model",
        digest=f"sha256:{digest}",
        served_name="m",
        dtype="Auto",
        max_model_length=64,
        engine_args=[],
    )
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_file_arrives(plan: ServingPlan, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/left-over").touch()
    download(plan, tmp_path / "model")
    assert (tmp_path / "model/sub/model.safetensors").stat().st_size == 3_000_000
    assert not (tmp_path / "model/left-over").exists()


def test_another_manifest_is_refused(plan: ServingPlan, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="published was sha256:0000"):
        download(plan.model_copy(update={"digest": "sha256:" + "0" * 64}), tmp_path / "model")


def test_a_changed_file_is_refused(plan: ServingPlan, published: Path, tmp_path: Path) -> None:
    (published / "sub/model.safetensors").write_bytes(b"1" * 3_000_000)
    with pytest.raises(WeightsError, match=r"model.safetensors of .* was changed after it was published"):
        download(plan, tmp_path / "model")


def test_a_missing_file_is_told_with_its_address(plan: ServingPlan, published: Path, tmp_path: Path) -> None:
    (published / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:.*/config.json cannot be downloaded: HTTP Error 404"):
        download(plan, tmp_path / "model")


def test_a_manifest_cannot_name_files_outside(plan: ServingPlan, published: Path, tmp_path: Path) -> None:
    manifest = json.dumps({"files": {"../../etc/passwd": "0"}})
    (published / "manifest.json").write_text(manifest)
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    with pytest.raises(WeightsError, match="names a file outside it"):
        download(plan.model_copy(update={"digest": f"sha256:{digest}"}), tmp_path / "model")


def test_settings_that_the_weights_contradict_end_the_launcher_before_the_engine(
    plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    text = plan.model_copy(update={"quantization": "AWQ"}).model_dump_json()
    monkeypatch.setattr("sys.argv", ["launch", "--port", "8000", "--plan", text, "--folder", str(tmp_path / "model")])
    with pytest.raises(SystemExit) as ended:
        launch.main()
    assert (ended.value.code, started) == (64, [])
    assert "error: serving.quantization is AWQ, and the published weights are not quantized" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("public", "key", "written"),
    [
        ("", None, ["m", "--port", "8000", "--fingerprint-mode"]),
        ("", "", ["m", "--port", "8000", "--middleware", "serving_runtime.engine_key.EngineKey", "--fingerprint-mode"]),
        ("spam", "k", ["spam", "m", "--port", "8000", "--middleware", "serving_runtime.engine_key.EngineKey"]),
        ("m", None, ["m", "--port", "8000", "--fingerprint-mode"]),
    ],
)
def test_the_engine_knows_the_public_name_first_and_demands_the_key_that_it_was_given(
    plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: str, key: str | None, written: list[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(launch, "download", lambda _, folder: folder.mkdir())
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    given = {} if key is None else {ENGINE_KEY_VARIABLE: key}
    without = {name: value for name, value in os.environ.items() if name != ENGINE_KEY_VARIABLE}
    monkeypatch.setattr("os.environ", {**without, **given})
    text = plan.model_copy(update={"public_name": public}).model_dump_json()
    monkeypatch.setattr("sys.argv", ["launch", "--port", "8000", "--plan", text, "--folder", str(tmp_path / "model")])
    launch.main()
    ((*command,),) = started
    assert command[command.index("--served-model-name") + 1 :][: len(written)] == written


def test_the_engine_writes_the_date_that_training_wrote(
    plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it writes one by itself, as for gpt-oss, whose prompts are no template's."""
    environment = dict(os.environ)
    monkeypatch.setattr(launch, "download", lambda _, folder: folder.mkdir())
    monkeypatch.setattr("os.execv", lambda *_: None)
    monkeypatch.setattr("os.environ", environment)
    command = ["launch", "--port", "8000", "--plan", plan.model_dump_json(), "--folder", str(tmp_path / "model")]
    monkeypatch.setattr("sys.argv", command)
    launch.main()
    assert environment["VLLM_SYSTEM_START_DATE"] == "2024-07-26"


def _launch_shared(plan: ServingPlan, folder: Path, wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Launch a base with adapters that are published as these; return the folder that the engine is started on."""
    started: list[list[str]] = []
    files = {"spoilt": {"r": 64}, "fit": {"r": 8}}
    digests = {name: published_adapter(folder / "published" / name, config) for name, config in files.items()}

    def bring(asked: ServingPlan, target: Path) -> None:
        if asked.uri == plan.uri:
            served(target, template="of the base")
        else:
            published_adapter(target, files[asked.uri])

    adapters = {name: {"uri": of, "digest": digests[of]} for name, of in wanted.items()}
    (folder / "adapters.json").write_text(json.dumps({"adapters": adapters}))
    monkeypatch.setattr(launch, "download", bring)
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    monkeypatch.setattr("os.environ", dict(os.environ))
    command = ["launch", "--port", "8000", "--plan", plan.model_dump_json(), "--folder", str(folder / "model")]
    monkeypatch.setattr("sys.argv", [*command, "--wanted", str(folder / "adapters.json")])
    launch.main()
    ((*called,),) = started
    return Path(called[called.index("--model") + 1])


@pytest.fixture
def shared_plan(plan: ServingPlan) -> ServingPlan:
    limits = AdapterLimits(max_rank=16, at_once=2)
    return plan.model_copy(update={"adapters": limits, "digest": "sha256:" + "b" * 64})


def test_a_base_is_asked_as_the_first_adapter_that_fits_was_trained(
    shared_plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _launch_shared(shared_plan, tmp_path, {"one": "spoilt", "two": "fit"}, monkeypatch)
    assert (found / "chat_template.jinja").read_text() == "{{ messages }}"
    places = Places.model_validate_json(os.environ[PLACES_VARIABLE])
    assert (places.served, places.wanted, places.home) == (
        found,
        tmp_path / "adapters.json",
        tmp_path / "adapters",
    )


@pytest.mark.parametrize(
    ("wanted", "told"),
    [({"one": "spoilt"}, "one: the adapter's rank is 64"), ({}, "asks for no adapter")],
)
def test_a_base_none_of_whose_adapters_fits_does_not_start(
    shared_plan: ServingPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wanted: dict[str, str],
    told: str,
) -> None:
    with pytest.raises(SystemExit) as raised:
        _launch_shared(shared_plan, tmp_path, wanted, monkeypatch)
    assert raised.value.code == 77
    assert told in capsys.readouterr().err
