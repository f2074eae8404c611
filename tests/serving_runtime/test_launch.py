"""The server starts on the published weights or not at all."""

import json
import os
from pathlib import Path

import pytest

from prompts.canary import CANARY_FILE
from serving_runtime import launch
from serving_runtime.adapter_folder import PLACES_VARIABLE, Places
from serving_runtime.canary import CANARY_VARIABLE
from serving_runtime.plan import ENGINE_KEY_VARIABLE, AdapterLimits, ServingPlan, WantedAdapter, weights_folder

from .published import plan_of, publish
from .test_adapter_folder import published as published_adapter


@pytest.fixture
def plan(tmp_path: Path) -> ServingPlan:
    """A plan for the weights that are in `model`."""
    return plan_of(publish(tmp_path / "model", {"config.json": b"{}", "sub/model.safetensors": b"0" * 3_000_000}), 1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "sub/model.safetensors",
            b"1" * 3_000_000,
            "sub/model.safetensors of {uri} was changed after it was published",
        ),
        ("manifest.json", b"{}", "the manifest of {uri} has sha256:44136fa3"),
        ("unknown.safetensors", b"", "{uri} holds unknown.safetensors, which its manifest does not list: remove it"),
        ("", b"", "{uri} has no manifest.json to be verified by (No such file or directory)"),
    ],
)
def test_weights_that_are_not_the_published_ones_end_the_launcher_before_the_engine(
    plan: ServingPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: bytes,
    said: str,
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    folder = tmp_path / ("model" if name else "nowhere")
    if name:
        (folder / name).write_bytes(content)
    command = ["launch", "--port", "8000", "--plan", plan.model_dump_json(), "--folder", str(folder)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        launch.main()
    assert (ended.value.code, started) == (77, [])
    assert capsys.readouterr().err.startswith(f"error: {said.format(uri=plan.uri)}")


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
        ("", "", ["m", "--port", "8000", "--fingerprint-mode"]),
        ("spam", "k", ["spam", "m", "--port", "8000", "--fingerprint-mode"]),
        ("m", None, ["m", "--port", "8000", "--fingerprint-mode"]),
    ],
)
def test_the_engine_knows_the_public_name_first_and_demands_the_key_that_it_was_given(
    plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: str, key: str | None, written: list[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    given = {} if key is None else {ENGINE_KEY_VARIABLE: key}
    without = {name: value for name, value in os.environ.items() if name != ENGINE_KEY_VARIABLE}
    monkeypatch.setattr("os.environ", {**without, **given})
    text = plan.model_copy(update={"public_name": public}).model_dump_json()
    monkeypatch.setattr("sys.argv", ["launch", "--port", "8000", "--plan", text, "--folder", str(tmp_path / "model")])
    launch.main()
    ((*command,),) = started
    assert command[command.index("--served-model-name") + 1 :][: len(written)] == written
    assert ("serving_runtime.engine_key.EngineKey" in command) is (key is not None)


def test_the_engine_writes_the_date_that_training_wrote(
    plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it writes one by itself, as for gpt-oss, whose prompts are no template's."""
    environment = dict(os.environ)
    monkeypatch.setattr("os.execv", lambda *_: None)
    monkeypatch.setattr("os.environ", environment)
    command = ["launch", "--port", "8000", "--plan", plan.model_dump_json(), "--folder", str(tmp_path / "model")]
    monkeypatch.setattr("sys.argv", command)
    launch.main()
    assert environment["VLLM_SYSTEM_START_DATE"] == "2024-07-26"


def _launch_shared(plan: ServingPlan, folder: Path, wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Launch a base with adapters that are published as these; return the folder that the engine is started on."""
    started: list[list[str]] = []
    files = {"spoilt": {"r": 64}, "fit": {"r": 8}, "another": {"r": 8}}
    prompts = {"another": {"chat_template.jinja": "of another"}}

    def publish_in(where: Path, name: str) -> str:
        return published_adapter(where, files[name], plan.digest, prompts.get(name))

    digests = {name: publish_in(folder / "published" / name, name) for name in files}

    def bring(_: ServingPlan, adapter: WantedAdapter, home: Path) -> Path:
        assert publish_in(home / weights_folder(adapter.digest), adapter.uri) == adapter.digest
        return home / weights_folder(adapter.digest)

    adapters = {name: {"uri": of, "digest": digests[of]} for name, of in wanted.items()}
    (folder / "adapters.json").write_text(json.dumps({"adapters": adapters}))
    monkeypatch.setattr(launch, "brought", bring)
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    monkeypatch.setattr("os.environ", {**os.environ, "HOME": str(folder / "home")})
    command = ["launch", "--port", "8000", "--plan", plan.model_dump_json(), "--folder", str(folder / "model")]
    monkeypatch.setattr("sys.argv", [*command, "--wanted", str(folder / "adapters.json")])
    launch.main()
    ((*called,),) = started
    return Path(called[called.index("--model") + 1])


@pytest.fixture
def shared_plan(tmp_path: Path) -> ServingPlan:
    base = {"config.json": b"{}", "chat_template.jinja": b"of the base", CANARY_FILE: b"of the base"}
    limits = AdapterLimits(max_rank=16, at_once=2)
    return plan_of(publish(tmp_path / "model", base), 1).model_copy(update={"adapters": limits})


def test_a_base_is_asked_as_the_first_adapter_that_fits_was_trained(
    shared_plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"one": "spoilt", "two": "fit", "a-newcomer": "another"}
    found = _launch_shared(shared_plan, tmp_path, wanted, monkeypatch)
    assert (found / "chat_template.jinja").read_text() == "{{ messages }}"
    places = Places.model_validate_json(os.environ[PLACES_VARIABLE])
    assert (places.served, places.wanted, places.home) == (
        found,
        tmp_path / "adapters.json",
        tmp_path / "home/adapters",
    )
    assert CANARY_VARIABLE not in os.environ, "each adapter has questions of its own"


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


def test_on_several_nodes_each_begins_its_part_and_one_without_a_place_says_why(
    plan: ServingPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, command: started.append(command))
    command = ["launch", "--port", "8000", "--plan", plan.model_dump_json(), "--folder", str(tmp_path / "model")]
    monkeypatch.setattr("sys.argv", [*command, "--nodes", "2"])
    with pytest.raises(SystemExit) as ended:
        launch.main()
    assert (ended.value.code, started) == (64, [])
    assert "'LWS_WORKER_INDEX' is not set, by which LeaderWorkerSet tells a pod its place" in capsys.readouterr().err
    monkeypatch.setenv("LWS_LEADER_ADDRESS", "m-group-0.m-group.team")
    for rank in ("0", "1"):
        monkeypatch.setenv("LWS_WORKER_INDEX", rank)
        launch.main()
    assert [("--headless" in made, made[made.index("--node-rank") + 1]) for made in started] == [
        (False, "0"),
        (True, "1"),
    ]
