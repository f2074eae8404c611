"""Sources are fetched from real servers: S3, HTTPS with its redirects, a hub; and refusals are told apart."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.fs
import pytest
from typing_extensions import override

from local_cluster.build import build
from local_cluster.parts import Part
from serving_runtime.weights.cache import bring
from serving_runtime.weights.describe import describe
from serving_runtime.weights.progress import Progress
from serving_runtime.weights.published import WeightsError, verify
from serving_runtime.weights.sources import source_of
from training_runtime import sources
from training_runtime.errors import AccessError, DataError
from training_runtime.prepare.stage import prepare
from training_runtime.sources import fetch

from .conftest import MakePlan, free_port, rows, wait_for


@dataclass(frozen=True)
class _Gateway(Part):
    """Versity's S3 gateway over a folder (Apache License 2.0), built and cached like the local cluster's parts."""

    @property
    @override
    def source(self) -> Path:
        return Path(__file__).parent / "s3_gateway"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3-compatible server; its address."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "anneal"
    program = build([_Gateway("s3-gateway", ("versitygw",))], cache)["versitygw"]
    port, folder = free_port(), tmp_path_factory.mktemp("s3")
    command: list[str | Path] = [
        program,
        "--port",
        f"127.0.0.1:{port}",
        "--access",
        "owner",
        "--secret",
        "owner-secret",
        "--health",
        "/health",
    ]
    server = subprocess.Popen([*command, "posix", folder])
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        _fill(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _fill(address: str) -> None:
    store = pyarrow.fs.S3FileSystem(
        access_key="owner",
        secret_key="owner-secret",
        endpoint_override=address,
        region="us-east-1",
        allow_bucket_creation=True,
    )
    store.create_dir("data/rows")
    lines = [json.dumps(row, ensure_ascii=False) for row in rows(80)]
    for name, part in (("a.jsonl", lines[:50]), ("b.jsonl", lines[50:])):
        with store.open_output_stream(f"data/rows/{name}") as file:
            file.write(("\n".join(part) + "\n").encode())


@pytest.fixture
def as_owner(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a pod with the owner's secret."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner-secret")


@pytest.mark.usefixtures("as_owner")
def test_an_object_and_a_prefix_are_fetched_from_s3(tmp_path: Path, make_plan: MakePlan) -> None:
    fetch("s3://data/rows/a.jsonl", tmp_path / "one")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.jsonl"]
    plan = make_plan(dataset__sources=[{"uri": "s3://data/rows"}])
    assert prepare(plan).rows == 80


@pytest.mark.parametrize(("secret", "refusal"), [("owner-secret", ""), ("wrong", "403 Forbidden"), ("", "403")])
def test_a_server_reads_its_weights_from_s3_by_signed_addresses(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str, refusal: str
) -> None:
    """Here, where a real S3 is, though it is the serving runtime that reads."""
    monkeypatch.setattr("serving_runtime.weights.sources._STRETCH", 1 << 20)
    (tmp_path / "model/sub folder").mkdir(parents=True)
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "model/sub folder/모델+1.safetensors").write_bytes(os.urandom(5_000_000))
    digest, _ = describe(tmp_path / "model")
    owner = {"access_key": "owner", "secret_key": "owner-secret", "endpoint_override": s3, "region": "us-east-1"}
    store = pyarrow.fs.S3FileSystem(**owner, allow_bucket_creation=True)
    store.create_dir("models")
    local = pyarrow.fs.LocalFileSystem()
    pyarrow.fs.copy_files(str(tmp_path / "model"), "models/v 1", local, store)
    credentials = {"AWS_ENDPOINT_URL": s3, "AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": secret}
    source = source_of("s3://models/v 1", "", credentials, lambda: datetime.now(UTC))
    if refusal:
        with pytest.raises(WeightsError, match=rf"/models/v%201/manifest.json cannot be downloaded: .* {refusal}"):
            bring(source, "s3://models/v 1", digest, tmp_path / "cache", Progress())
    else:
        found = bring(source, "s3://models/v 1", digest, tmp_path / "cache", Progress())
        assert verify(found, "s3://models/v 1", digest) == 2


def _secret(folder: Path, **keys: str) -> Path:
    """A Secret as a pod has it mounted."""
    data = folder / "..data"
    data.mkdir(parents=True)
    for name, value in keys.items():
        (data / name).write_text(value)
        (folder / name).symlink_to(data / name)
    return folder


def test_each_source_is_read_with_the_credentials_of_its_own_folder(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    right = _secret(
        tmp_path / "owner",
        AWS_ENDPOINT_URL=s3,
        AWS_ACCESS_KEY_ID="owner",
        AWS_SECRET_ACCESS_KEY="owner-secret\n",
    )
    fetch("s3://data/rows/a.jsonl", tmp_path / "one", right)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.jsonl"]
    other = _secret(
        tmp_path / "other",
        AWS_ENDPOINT_URL=s3,
        AWS_ACCESS_KEY_ID="owner",
        AWS_SECRET_ACCESS_KEY="wrong",
    )
    with pytest.raises(AccessError):
        fetch("s3://data/rows/a.jsonl", tmp_path / "two", other)


def test_a_secret_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with pytest.raises(AccessError, match="is there a Secret keys"):
        fetch("s3://data/rows/a.jsonl", tmp_path / "one", tmp_path / "keys")


@pytest.mark.usefixtures("as_owner")
@pytest.mark.parametrize("source", ["s3://data/nothing.jsonl", "s3://no-such-bucket/rows.jsonl"])
def test_what_s3_does_not_have_is_told(tmp_path: Path, source: str) -> None:
    with pytest.raises(DataError, match="is not there: check the bucket, the path and AWS_ENDPOINT_URL"):
        fetch(source, tmp_path)


@pytest.mark.usefixtures("as_owner")
def test_no_rights_on_the_bucket_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessError, match="check that the secret's AWS_ACCESS_KEY_ID may read it") as caught:
        fetch("s3://data/rows/a.jsonl", tmp_path)
    assert caught.value.exit_code == 77


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path: files, redirects, refusals, and the parts of a hub's protocol that a download asks for."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/redirect/"):
            self.send_response(302)
            self.send_header(
                "Location", {"plain": "http://127.0.0.1:1/x", "private": "https://10.0.0.1/x"}[path.rpartition("/")[2]]
            )
            self.end_headers()
        elif path.startswith("/status/"):
            self.send_error(int(path.rpartition("/")[2]))
        elif path == "/rows.jsonl":
            self._send(b'{"question": "q", "answer": "a"}\n')
        elif path.startswith("/api/datasets/team/toll/tree/"):
            names = ("data/rows.jsonl", "README.md")
            entries = [{"type": "file", "path": name, "size": 34, "oid": "b" * 40} for name in names]
            self._send(json.dumps(entries).encode())
        elif path.startswith("/api/datasets/team/toll"):
            files = [{"rfilename": "data/rows.jsonl"}, {"rfilename": "README.md"}]
            self._send(json.dumps({"id": "team/toll", "sha": "a" * 40, "siblings": files}).encode())
        elif path.startswith("/datasets/team/toll/resolve/"):
            self._send(b'{"question": "hub", "answer": "a"}\n', hub=True)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _send(self, content: bytes, *, hub: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if hub:
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", '"0123456789abcdef"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    @override
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An HTTPS server with a certificate of its own; its address and the certificate."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run(made, check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}", folder / "crt"
    server.shutdown()


@pytest.fixture(autouse=True)
def _trusting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "https" in request.fixturenames:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(request.getfixturevalue("https")[1]))


def test_a_file_is_fetched_by_https(https: tuple[str, Path], tmp_path: Path) -> None:
    fetch(f"{https[0]}/rows.jsonl?token=x", tmp_path)
    assert (tmp_path / "rows.jsonl").read_text().startswith('{"question"')


@pytest.mark.parametrize("target", ["plain", "private"])
def test_a_redirect_to_a_private_address_is_refused(https: tuple[str, Path], tmp_path: Path, target: str) -> None:
    with pytest.raises(AccessError, match="which is not a public https address: name the final address"):
        fetch(f"{https[0]}/redirect/{target}", tmp_path)


@pytest.mark.parametrize(("status", "error"), [(404, DataError), (403, AccessError), (500, AccessError)])
def test_a_refusal_is_told_with_its_status(
    https: tuple[str, Path], tmp_path: Path, status: int, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"answered {status}: check the address and who may read it"):
        fetch(f"{https[0]}/status/{status}", tmp_path)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="cannot be read"):
        fetch("https://127.0.0.1:9/rows.jsonl", tmp_path)


@pytest.fixture
def hub() -> Iterator[str]:
    """A server that speaks the hub's protocol."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def _fetch_by_hub(hub: str, source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, for the hub's library reads its address once, when it is imported."""
    code = (
        "import sys; from pathlib import Path; from training_runtime.sources import fetch; "
        "fetch(sys.argv[1], Path(sys.argv[2]))"
    )
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    python = sys.executable
    return subprocess.run(
        [python, "-c", code, source, str(folder)], env=environment, capture_output=True, text=True, check=False
    )


def test_a_dataset_is_fetched_from_a_hub(hub: str, tmp_path: Path) -> None:
    done = _fetch_by_hub(hub, "hf://datasets/team/toll@main/data/rows.jsonl", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()] == ["data/rows.jsonl"]


def test_a_dataset_that_the_hub_does_not_have_is_told(hub: str, tmp_path: Path) -> None:
    done = _fetch_by_hub(hub, "hf://datasets/team/nothing", tmp_path)
    assert "AccessError: the hub refuses hf://datasets/team/nothing" in done.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hf://only-a-name", "write hf://OWNER/NAME"),
        ("hf://a/b@c@d/e", "write hf://OWNER/NAME"),
        ("http://example.com/rows.jsonl", "name a path, s3://, https:// or hf://"),
        ("ftp://example.com/rows.jsonl", "name a path, s3://, https:// or hf://"),
    ],
)
def test_an_address_that_is_none_is_told(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fetch(source, tmp_path)


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        fetch(str(tmp_path / "nothing"), tmp_path / "target")
    assert sources.is_local("/data/rows.jsonl")
    assert not sources.is_local("s3://b/k")
