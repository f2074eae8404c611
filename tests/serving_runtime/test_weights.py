"""Weights are brought once, go on after a kill, and are the published ones. A real server sends real files."""

import errno
import fcntl
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving_runtime.plan import DOWNLOAD_PATH, Downloaded, weights_folder
from serving_runtime.weights import __main__ as weights
from serving_runtime.weights import download, published, ranges, sources
from serving_runtime.weights.cache import bring
from serving_runtime.weights.describe import describe, main
from serving_runtime.weights.progress import Progress, told_at
from serving_runtime.weights.published import WeightsError, verify
from serving_runtime.weights.signing import presigned
from serving_runtime.weights.sources import source_of
from tests.support.http_server import playing
from toolbox.polling import poll

from .published import URI, Files, FileServer, plan_of, publish, started

NOW = datetime(2026, 3, 1, tzinfo=UTC)
CHECKOUT = Path(__file__).parents[2]
LARGE = random.Random(1).randbytes(3_000_000)
FILES = {"config.json": b"{}", "empty.txt": b"", "sub/model.safetensors": LARGE, "other.safetensors": LARGE[:1_500_000]}
SIZE = sum(map(len, FILES.values()))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """A published folder, and its server."""
    monkeypatch.setattr(ranges, "_FIRST_PAUSE_SECONDS", 0.01)
    publish(tmp_path / "www", FILES)
    with playing(Files(tmp_path / "www"), FileServer) as state:
        yield state


def digest_of(files: Files) -> str:
    return publish(files.folder, FILES)


def brought(files: Files, folder: Path, digest: str = "", progress: Progress | None = None) -> Path:
    source = source_of(URI, f"http://127.0.0.1:{files.port}", {}, lambda: NOW)
    return bring(source, URI, digest or digest_of(files), folder, progress or Progress())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("knows_ranges", [True, False])
@pytest.mark.parametrize("with_sizes", [True, False])
def test_every_file_arrives(files: Files, tmp_path: Path, knows_ranges: bool, with_sizes: bool) -> None:
    files.knows_ranges = knows_ranges
    digest = publish(files.folder, FILES, with_sizes=with_sizes)
    found = brought(files, tmp_path / "cache", digest)
    assert found == tmp_path / "cache" / weights_folder(digest)
    assert content(found) == FILES | {"manifest.json": (files.folder / "manifest.json").read_bytes()}
    assert sorted(path.name for path in found.parent.iterdir()) == [f".{found.name}.lock", found.name]


def test_what_is_here_is_not_downloaded_again(files: Files, tmp_path: Path) -> None:
    brought(files, tmp_path / "cache")
    asked = files.asked.copy()
    brought(files, tmp_path / "cache")
    assert files.asked == asked


def test_a_file_is_verified_while_others_are_on_their_way(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []

    def changed_files(folder: Path, names: dict[str, str]) -> list[str]:
        read.extend((name, files.sent) for name in names)
        return published.changed_files(folder, names)

    monkeypatch.setattr(download, "changed_files", changed_files)
    files.bytes_per_second = 2_000_000
    brought(files, tmp_path / "cache")
    assert [name for name, sent in read if sent < SIZE * 0.9] == ["empty.txt", "config.json", "other.safetensors"]
    assert sorted(name for name, _ in read) == sorted(FILES), "each once"


def test_a_connection_that_breaks_goes_on_where_it_was(files: Files, tmp_path: Path) -> None:
    files.breaks_after = 2_000_000
    progress = Progress()
    found = brought(files, tmp_path / "cache", progress=progress)
    assert content(found)["sub/model.safetensors"] == LARGE
    assert (files.sent, files.asked["sub/model.safetensors"]) == (SIZE, 2)
    assert (progress.told().bytes, progress.told().total_bytes) == (SIZE, SIZE)


def test_a_server_without_ranges_sends_what_is_here_again_in_vain(files: Files, tmp_path: Path) -> None:
    files.breaks_once_after, files.knows_ranges = 2_000_000, False
    found = brought(files, tmp_path / "cache")
    assert content(found)["sub/model.safetensors"] == LARGE
    assert (files.sent, files.asked["sub/model.safetensors"]) == (SIZE + 2_000_000, 2)


def test_one_that_only_breaks_is_given_up_with_its_address(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    files.refuses = 503
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:.*/manifest.json cannot be downloaded: .* 503"):
        brought(files, tmp_path / "cache", digest)
    assert files.asked["manifest.json"] == 5


def test_what_is_refused_is_not_asked_for_again(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    (files.folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:.*/config.json cannot be downloaded: .* 404"):
        brought(files, tmp_path / "cache", digest)
    assert files.asked["config.json"] == 1


def test_another_manifest_is_refused(files: Files, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="published was sha256:0000"):
        brought(files, tmp_path / "cache", "sha256:" + "0" * 64)


def test_a_file_that_was_changed_where_it_lies_is_refused_and_not_asked_for_twice(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    (files.folder / "other.safetensors").write_bytes(b"1" * 1_500_000)
    with pytest.raises(WeightsError, match=r"other.safetensors of .* was changed after it was published"):
        brought(files, tmp_path / "cache", digest)
    assert files.asked["other.safetensors"] == 1
    assert not (tmp_path / "cache" / weights_folder(digest)).exists()
    publish(files.folder, FILES)
    sent = files.sent
    brought(files, tmp_path / "cache", digest)
    assert files.sent - sent == 1_500_000, "what had come rightly is kept"


@pytest.mark.parametrize("name", ["config.json", "sub/model.safetensors", "manifest.json"])
def test_what_was_changed_in_the_cache_is_downloaded_again(files: Files, tmp_path: Path, name: str) -> None:
    found = brought(files, tmp_path / "cache")
    (found / name).write_bytes(b"2")
    assert content(brought(files, tmp_path / "cache")) == content(files.folder)


def test_a_file_that_somebody_adds_to_the_cache_is_not_served(files: Files, tmp_path: Path) -> None:
    found = brought(files, tmp_path / "cache")
    (found / "extra.safetensors").touch()
    (found / ".nfs0001").touch()
    assert content(brought(files, tmp_path / "cache")) == content(files.folder)


def test_pods_that_share_a_folder_download_once(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    files.bytes_per_second = 20_000_000
    with ThreadPoolExecutor(4) as pool:
        found = {*pool.map(lambda _: brought(files, tmp_path / "cache", digest), range(4))}
    assert (len(found), files.sent) == (1, SIZE)
    assert files.most_at_once > 1, "several files at once"


def test_weights_that_no_disk_holds_are_refused_before_they_are_downloaded(files: Files, tmp_path: Path) -> None:
    manifest = json.loads((files.folder / "manifest.json").read_bytes())
    manifest["bytes"]["config.json"] = 1 << 43
    (files.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(WeightsError, match=r"need 8796.1 GB more, and .* GB are free: enlarge the claim of"):
        brought(files, tmp_path / "cache", _digest(files.folder))
    assert files.sent == 0


def _digest(folder: Path) -> str:
    return f"sha256:{hashlib.sha256((folder / 'manifest.json').read_bytes()).hexdigest()}"


def test_a_manifest_cannot_name_files_outside(files: Files, tmp_path: Path) -> None:
    (files.folder / "manifest.json").write_text(json.dumps({"files": {"../../etc/passwd": "0"}}))
    with pytest.raises(WeightsError, match="names a file outside it"):
        brought(files, tmp_path / "cache", _digest(files.folder))


def test_a_digest_of_something_else_is_told_to_be_none_of_a_manifest(files: Files, tmp_path: Path) -> None:
    (files.folder / "manifest.json").write_text("[1]")
    with pytest.raises(WeightsError, match=r"lists no files: artifact.digest is to be that of a manifest"):
        brought(files, tmp_path / "cache", _digest(files.folder))


def test_a_download_that_is_killed_goes_on_where_it_was(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    files.bytes_per_second = 1_000_000
    for part in (0.3, 0.6):
        killed = started(files, tmp_path / "cache", digest)
        assert poll(lambda least=SIZE * part: files.sent > least, 60)  # type: ignore[misc] # a loop's own
        os.kill(killed.pid, signal.SIGKILL)
        assert (killed.wait(), killed.communicate()[0]) == (-signal.SIGKILL, "")
    files.bytes_per_second = 0
    last = started(files, tmp_path / "cache", digest)
    out, err = last.communicate(timeout=60)
    assert (last.returncode, err) == (0, "")
    assert out == f"downloaded and verified 4 files of {URI}\n"
    assert content(tmp_path / "cache" / weights_folder(digest)) == content(files.folder)
    assert files.sent < SIZE * 1.15, "what was on its way when it was killed, and no more, was sent twice"


def as_in_a_pod(files: Files, folder: Path, digest: str) -> "subprocess.Popen[str]":
    """What the container `weights` runs, word for word but for what is this test's own."""
    made = yaml.safe_load_all((CHECKOUT / "tests/desired/golden/serving.yaml").read_text())
    server = next(one for one in made if one["kind"] == "Deployment")
    arguments = server["spec"]["template"]["spec"]["initContainers"][0]["args"]
    own = {"--port": "0", "--folder": str(folder), "--plan": plan_of(digest, files.port).model_dump_json()}
    words = [own.get(before, word) for before, word in zip(["", *arguments], arguments, strict=False)]
    return subprocess.Popen(
        [sys.executable, *words], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_container_of_a_pod_ends_with_0_so_that_the_engine_begins(files: Files, tmp_path: Path) -> None:
    for _ in range(2):
        brings = as_in_a_pod(files, tmp_path / "cache", digest_of(files))
        assert (brings.communicate(timeout=60)[1], brings.returncode) == ("", 0)


def test_one_that_is_asked_to_end_does_so_at_once_and_not_as_if_all_came(files: Files, tmp_path: Path) -> None:
    files.bytes_per_second = 100_000
    brings = as_in_a_pod(files, tmp_path / "cache", digest_of(files))
    assert poll(lambda: files.sent > 0, 60)
    brings.terminate()
    assert (brings.communicate(timeout=10), brings.returncode) == (("", ""), 128 + signal.SIGTERM)


def test_what_a_power_cut_spoilt_is_downloaded_again(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    files.bytes_per_second = 1_000_000
    killed = started(files, tmp_path / "cache", digest)
    assert poll(lambda: files.sent > SIZE * 0.5, 60)
    killed.kill()
    killed.communicate()
    draft = tmp_path / "cache" / f".{weights_folder(digest)}.draft" / "sub/model.safetensors"
    with draft.open("r+b") as file:
        file.write(b"lost on its way to the disk")
    files.bytes_per_second = 0
    assert content(brought(files, tmp_path / "cache", digest)) == content(files.folder)


def test_a_download_that_fails_says_why_and_ends_as_one_without_access(files: Files, tmp_path: Path) -> None:
    files.refuses = 403
    failed = started(files, tmp_path / "cache", "sha256:" + "0" * 64)
    _, err = failed.communicate(timeout=60)
    assert failed.returncode == 77
    assert err.startswith("error: http://127.0.0.1:")
    assert err.endswith("/model/manifest.json cannot be downloaded: the answer was 403 Forbidden\n")


def test_a_folder_that_cannot_be_written_is_told(files: Files, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(WeightsError, match=r"cache cannot be read or written: File exists"):
        brought(files, tmp_path / "cache")


def test_a_secret_that_is_not_there_is_told(files: Files, tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    failed = started(files, tmp_path / "cache", digest_of(files), "--credentials", str(tmp_path / "credentials"))
    _, err = failed.communicate(timeout=60)
    assert (failed.returncode, err) == (
        77,
        "error: there are no credentials: is there a Secret as artifact.secretRef says?\n",
    )


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_server_that_tells_no_size_is_said_to_and_nothing_is_taken_for_empty(
    files: Files, tmp_path: Path, knows_ranges: bool
) -> None:
    files.tells_sizes, files.knows_ranges = False, knows_ranges
    digest = publish(files.folder, FILES, with_sizes=False)
    with pytest.raises(WeightsError, match=r"the server does not tell the size of http://127.0.0.1:.*\.describe"):
        brought(files, tmp_path / "cache", digest)


def test_a_part_that_begins_elsewhere_is_asked_for_again(files: Files, tmp_path: Path) -> None:
    files.sends_from = 1_000_000
    assert content(brought(files, tmp_path / "cache"))["other.safetensors"] == LARGE[:1_500_000]
    assert files.sent < SIZE + 2 * 65536 * 8 + 2_000_000


def test_mlflow_may_fetch_a_file_from_its_own_store_before_it_answers(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_SILENT_SECONDS", 0.2)
    files.begins_after = 0.5
    brought(files, tmp_path / "cache")
    assert {*files.asked.values()} == {1}, "each is asked for once"
    assert files.most_at_once == 2, "MLflow keeps each whole until it is sent"


def test_a_server_that_stops_amid_a_file_is_not_waited_for_as_long(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_SILENT_SECONDS", 0.2)
    files.bytes_per_second = 100_000
    (tmp_path / "one").mkdir()
    files.folder = tmp_path / "one"
    brought(files, tmp_path / "cache", publish(files.folder, {"a.safetensors": LARGE[:100_000]}))
    assert files.asked["a.safetensors"] == 2, "it is asked again for the rest"


def test_a_changed_artifact_that_cannot_wholly_be_removed_is_replaced(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = brought(files, tmp_path / "cache")
    (found / "config.json").write_bytes(b"2")
    remove = shutil.rmtree

    def leaves_one(path: Path, *, ignore_errors: bool) -> None:
        remove(path, ignore_errors=ignore_errors)
        if "gone" in path.name or path == found:
            path.mkdir()
            (path / ".nfs0001").touch()

    monkeypatch.setattr("serving_runtime.weights.cache.shutil.rmtree", leaves_one)
    assert content(brought(files, tmp_path / "cache")) == content(files.folder)
    monkeypatch.undo()
    (found / "config.json").write_bytes(b"2")
    brought(files, tmp_path / "cache")
    assert sorted(path.name for path in found.parent.iterdir()) == [f".{found.name}.lock", found.name]


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_a_disk_that_cannot_be_read_costs_nobody_the_artifact(
    files: Files, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, opened = brought(files, tmp_path / "cache"), Path.open

    def fails(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == found / name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", fails)
    sent = files.sent
    with pytest.raises(WeightsError, match=f"{name} cannot be read or written: Input/output error"):
        brought(files, tmp_path / "cache")
    monkeypatch.undo()
    brought(files, tmp_path / "cache")
    assert files.sent == sent


def test_a_folder_that_leads_elsewhere_is_neither_served_nor_described(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/evil.jinja").touch()
    digest = publish(tmp_path / "model", FILES)
    (tmp_path / "model/templates").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match="holds templates, which its manifest does not list: remove it"):
        verify(tmp_path / "model", URI, digest)
    with pytest.raises(SystemExit, match="templates leads to no file"):
        describe(tmp_path / "model")


def test_a_pod_that_waits_for_another_says_for_what(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, cache, said = digest_of(files), tmp_path / "cache", io.StringIO()
    monkeypatch.setattr(
        sys, "stdout", said
    )  # what pytest captures is lost where it is read while another thread writes
    cache.mkdir()
    with (cache / f".{weights_folder(digest)}.lock").open("w") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)
        waits = pool.submit(brought, files, cache, digest)
        assert poll(lambda: said.getvalue().endswith("\n"), 60)
        told = said.getvalue()
        fcntl.flock(held, fcntl.LOCK_UN)
        waits.result()
    assert told == f"waiting for another pod that brings these weights: it holds {held.name}\n"


def test_a_file_system_without_locks_is_told(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", has_none)
    with pytest.raises(WeightsError, match=r"cannot be locked \(No locks available\), .* or leave serving.cache out"):
        brought(files, tmp_path / "cache")


def test_some_of_a_disk_is_left_to_others(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = shutil.disk_usage(tmp_path)._replace(total=100 * SIZE, free=4 * SIZE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    with pytest.raises(WeightsError, match="GB are free"):
        brought(files, tmp_path / "cache")


def test_a_download_goes_on_where_nobody_can_be_told_of_it(files: Files, tmp_path: Path) -> None:
    digest = digest_of(files)
    with socket.create_server(("", 0)) as taken:
        brings = started(files, tmp_path / "cache", digest, "--port", str(taken.getsockname()[1]))
        out, err = brings.communicate(timeout=60)
    assert (brings.returncode, err) == (0, "")
    assert out.startswith("nobody is told how far the download is: port ")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_whoever_asks_is_told_over_either_family(host: str) -> None:
    with (
        told_at(0, Progress()) as port,
        urllib.request.urlopen(f"http://{host}:{port}{DOWNLOAD_PATH}", timeout=10) as answer,
    ):
        assert Downloaded.model_validate_json(answer.read()).bytes == 0


SECRET = "hf_SECRET"  # noqa: S105 - none


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("HF_TOKEN", b"hf_SECRET\n# of the build\n", "HF_TOKEN of artifact.secretRef has white space or "),
        ("HF_TOKEN", b"hf_SECRET\xff", "HF_TOKEN of artifact.secretRef has white space or "),
        ("HF_ENDPOINT", b"http://user:hf_SECRET@127.0.0.1:9", "HF_ENDPOINT of artifact.secretRef is no address: "),
        ("HF_ENDPOINT", b"127.0.0.1:9", "HF_ENDPOINT of artifact.secretRef is no address: "),
        ("HF_ENDPOINT", b"http://127.0.0.1:hf_SECRET", "HF_ENDPOINT of artifact.secretRef is no address: "),
        ("ca.jks", b"\xfe\xedhf_SECRET", "the Secret of artifact.secretRef has none of HF_TOKEN, HF_ENDPOINT"),
    ],
)
def test_what_is_wrong_in_a_secret_is_named_and_not_shown(tmp_path: Path, name: str, value: bytes, told: str) -> None:
    failed = reading_a_hub(tmp_path, {name: value})
    _, err = failed.communicate(timeout=60)
    assert failed.returncode == 77
    assert err.startswith(f"error: {told}"), err
    assert SECRET not in err


def reading_a_hub(folder: Path, secret: dict[str, bytes], port: int = 9) -> "subprocess.Popen[str]":
    for name, value in {"credentials/" + name: value for name, value in secret.items()}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(value)
    plan = plan_of("sha256:" + "0" * 64, port).model_copy(update={"uri": "hf://our-team/spam"}).model_dump_json()
    command = [sys.executable, "-m", "serving_runtime.weights", "--port", "0", "--folder", str(folder / "cache")]
    command += ["--plan", plan, "--credentials", str(folder / "credentials")]
    return subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_keys_of_a_secret_that_nothing_reads_may_be_anything(files: Files, tmp_path: Path) -> None:
    files.refuses = 403
    endpoint = f"http://127.0.0.1:{files.port}\n".encode()
    failed = reading_a_hub(tmp_path, {"HF_TOKEN": b"t\n", "HF_ENDPOINT": endpoint, "ca.jks": b"\xfe\xed\n"})
    assert failed.communicate(timeout=60)[1].endswith("cannot be downloaded: the answer was 403 Forbidden\n")
    assert files.headers[0]["Authorization"] == "Bearer t"


def test_an_error_of_the_program_s_own_shows_no_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(weights, "bring", fails)
    plan = plan_of("sha256:0", 9).model_dump_json()
    monkeypatch.setattr("sys.argv", ["weights", "--port", "0", "--folder", str(tmp_path), "--plan", plan])
    with pytest.raises(SystemExit, match="1"):
        weights.main()
    assert capsys.readouterr().err.startswith("error: ValueError at test_weights.py:")


@pytest.mark.parametrize("address", ["http://user:hf_SECRET@127.0.0.1:9", "http://127.0.0.1:9/?key=hf_SECRET"])
def test_no_password_stands_in_what_is_said_of_an_address(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "_FIRST_PAUSE_SECONDS", 0.01)
    with pytest.raises(WeightsError, match=r"^http://127.0.0.1:9/.* cannot be downloaded: ") as told:
        bring(source_of(URI, address, {}, lambda: NOW), URI, "sha256:0", tmp_path / "cache", Progress())
    assert SECRET not in str(told.value)


def test_a_large_file_of_a_hub_comes_in_several_stretches_at_once(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_STRETCH", 1 << 20)
    uri, files.prefix = "hf://team/spam@v1.0/final model", "/team/spam/resolve/v1.0/final%20model/"
    files.bytes_per_second = 20_000_000
    hub = {"HF_ENDPOINT": f"http://127.0.0.1:{files.port}/", "HF_TOKEN": "t"}
    found = bring(source_of(uri, "", hub, lambda: NOW), uri, digest_of(files), tmp_path / "cache", Progress())
    assert content(found) == content(files.folder)
    assert (files.sent, files.asked["sub/model.safetensors"]) == (SIZE, 3)
    assert {headers["Authorization"] for headers in files.headers} == {"Bearer t"}


@pytest.mark.parametrize(
    ("uri", "credentials", "address"),
    [
        ("hf://team/spam", {}, "https://huggingface.co/team/spam/resolve/main/a/b.json"),
        (
            "hf://team/spam@refs%2Fpr/x",
            {"HF_ENDPOINT": "https://hub"},
            "https://hub/team/spam/resolve/refs%252Fpr/x/a/b.json",
        ),
        ("s3://models/spam/1/", {}, "https://s3.us-east-1.amazonaws.com/models/spam/1/a/b.json"),
        (
            "s3://models/spam",
            {"AWS_ENDPOINT_URL": "http://minio:9000/", "AWS_REGION": "eu-1"},
            "http://minio:9000/models/spam/a/b.json",
        ),
        (
            "s3://models/x",
            {"AWS_ENDPOINT_URL": "https://S3.Example.com:443"},
            "https://s3.example.com/models/x/a/b.json",
        ),
        ("hf://team/x", {"HF_ENDPOINT": "http://[::1]:80/Hub"}, "http://[::1]/Hub/team/x/resolve/main/a/b.json"),
        ("mlflow-artifacts:/1/r/model/", {}, "http://mlflow/api/2.0/mlflow-artifacts/artifacts/1/r/model/a/b.json"),
    ],
)
def test_each_source_has_its_address(uri: str, credentials: dict[str, str], address: str) -> None:
    assert source_of(uri, "http://mlflow", credentials, lambda: NOW).asked("a/b.json") == (address, {})


@pytest.mark.parametrize("uri", ["pvc://claim/path", "oci://registry/model", "hf://team", "https://server/path"])
def test_what_nothing_is_downloaded_from_is_told(uri: str) -> None:
    with pytest.raises(WeightsError, match=f"{uri} is nothing that is downloaded"):
        source_of(uri, "", {}, lambda: NOW)


def test_an_address_of_s3_is_signed_as_amazon_s_example_is() -> None:
    signed = presigned(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=UTC),
        seconds=86400,
    )
    assert signed.endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_no_signature_stands_in_what_is_said_of_an_address(files: Files, tmp_path: Path) -> None:
    files.refuses = 403
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"}
    keys["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{files.port}"
    source = source_of("s3://models/spam", "", keys, lambda: NOW)
    with pytest.raises(
        WeightsError, match=r"^http://127.0.0.1:\d+/models/spam/manifest.json cannot be downloaded: .* 403"
    ):
        bring(source, "s3://models/spam", "sha256:0", tmp_path / "cache", Progress())
    assert "X-Amz-Security-Token=t&X-Amz-SignedHeaders=host&X-Amz-Signature=" in files.addresses[0]


def test_a_folder_of_one_s_own_is_described_and_then_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.safetensors").write_bytes(b"123")
    (tmp_path / ".git").touch()
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["describe", str(tmp_path)])
        main()
    digest, size = capsys.readouterr().out.splitlines()[-2:]
    assert size == "bytes: 3"
    assert verify(tmp_path, "pvc://models/x", digest.removeprefix("digest: ")) == 1


def test_how_far_it_is_is_told_to_whoever_asks() -> None:
    now = [100.0]
    progress = Progress(lambda: now[0])
    with told_at(0, progress) as port:

        def told() -> Downloaded:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{DOWNLOAD_PATH}", timeout=10) as answer:
                return Downloaded.model_validate_json(answer.read())

        assert told() == Downloaded(bytes=0, total_bytes=0, bytes_per_second=0)
        progress.begin(1000, 50_000)
        for _ in range(10):
            now[0] += 2
            progress.add(100)
        assert told() == Downloaded(bytes=2000, total_bytes=50_000, bytes_per_second=50)
        for _ in range(40):
            now[0] += 2
            progress.add(1000)
        assert told() == Downloaded(bytes=42_000, total_bytes=50_000, bytes_per_second=500)
        now[0] += 3000
        assert told().bytes_per_second < 20, "one that stands still slows down"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10)


@pytest.mark.parametrize(
    ("uri", "credentials", "allowed", "told"),
    [
        ("hf://t/x", {"HF_ENDPOINT": "https://hub.example.com"}, ["https://hub.example.com/"], ""),
        ("hf://t/x", {"HF_ENDPOINT": "https://hub.example.com/eu/"}, ["https://hub.example.com/"], ""),
        ("hf://t/x", {"HF_ENDPOINT": "http://Hub.example.com:80"}, ["http://hub.example.com/"], ""),
        ("hf://t/x", {}, ["https://huggingface.co/"], ""),
        ("hf://t/x", {}, ["https://hub.example.com/"], "without HF_ENDPOINT it is https://huggingface.co, and"),
        (
            "hf://t/x",
            {"HF_ENDPOINT": "https://hub.example.com.evil.net"},
            ["https://hub.example.com/", "https://huggingface.co/"],
            (
                "HF_ENDPOINT of artifact.secretRef is https://hub.example.com.evil.net, and this installation reads "
                "from what begins with https://hub.example.com/ or https://huggingface.co/: name such a one in "
                "HF_ENDPOINT of artifact.secretRef, or have the chart's `server.endpoints` allow this one"
            ),
        ),
        ("s3://b/x", {"AWS_ENDPOINT_URL": "http://minio:9000"}, ["http://minio:9000/"], ""),
        ("s3://b/x", {"AWS_REGION": "eu-central-1"}, ["https://s3.eu-central-1.amazonaws.com/"], ""),
        ("s3://b/x", {}, ["https://s3.eu-central-1.amazonaws.com/"], "without AWS_ENDPOINT_URL it is https://s3.us-ea"),
        ("s3://b/x", {"AWS_ENDPOINT_URL": "http://minio/a/../b"}, ["http://minio/a/"], "AWS_ENDPOINT_URL of artifact."),
        ("s3://b/x", {"AWS_ENDPOINT_URL": "http://minio/a/%2e%2E/b"}, ["http://minio/a/"], "is no address: write"),
        ("s3://b/x", {"AWS_ENDPOINT_URL": "http://minio/a/..%2fb"}, ["http://minio/a/"], "is no address: write"),
        ("s3://b/x", {"AWS_ENDPOINT_URL": "http://minio/a.b/..c"}, ["http://minio/a.b/"], ""),
        ("s3://b/x", {}, [], "this installation reads from no endpoint: name"),
        ("s3://b/x", {"AWS_REGION": "x.evil.net/"}, ["https://s3."], "AWS_REGION of artifact.secretRef is no region"),
        ("mlflow-artifacts:/1/r", {}, [], ""),
    ],
)
def test_the_installation_says_which_endpoints_are_read_from(
    uri: str, credentials: dict[str, str], allowed: list[str], told: str
) -> None:
    expected = pytest.raises(WeightsError, match=re.escape(told)) if told else nullcontext()
    with expected:
        source_of(uri, "http://mlflow", credentials, lambda: NOW, allowed)


def test_weights_that_are_larger_than_a_pod_s_room_are_refused_before_they_are_downloaded(
    files: Files, tmp_path: Path
) -> None:
    digest = digest_of(files)
    refused = started(files, tmp_path / "cache", digest, "--room", str(SIZE - 1))
    _, err = refused.communicate(timeout=60)
    assert (refused.returncode, files.sent) == (77, 0)
    assert err.startswith(f"error: the weights have {SIZE} bytes, and the pod has room for {SIZE - 1}, by what its ")
    assert f"`bytes: {SIZE}` in `artifact`" in err
    taken = started(files, tmp_path / "cache", digest, "--room", str(SIZE))
    assert (taken.communicate(timeout=60)[1], taken.returncode) == ("", 0)
