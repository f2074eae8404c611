"""Downloads go through the proxy that the environment names, and trust the authorities that the installation does.

Real proxies and real TLS servers of this machine; `localhost` is the name in their certificates.
"""

import base64
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typing_extensions import override

from anneal_operator.endpoints.certificate import certificate_secret, serving_context
from serving_runtime.plan import AUTHORITIES_VARIABLE
from serving_runtime.weights import ranges
from serving_runtime.weights.cache import bring
from serving_runtime.weights.progress import Progress
from serving_runtime.weights.published import WeightsError
from serving_runtime.weights.sources import source_of
from serving_runtime.weights.ways import Ways
from tests.support.http_server import playing

from .published import Files, FileServer, publish

NOW = datetime.now(UTC)
FILES = {"config.json": b"{}", "model.safetensors": bytes(300_000)}
URI = "hf://team/spam"
PREFIX = "/team/spam/resolve/main/"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", AUTHORITIES_VARIABLE)


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_FIRST_PAUSE_SECONDS", 0.01)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@dataclass
class Proxy:
    """What came to a proxy."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    """The servers that it was to lead to."""
    users: set[str] = field(default_factory=set)
    """As whom, in the header's words."""


class ProxyHandler(BaseHTTPRequestHandler):
    """Leads to whatever is named: names of hosts are none that this machine knows, but the last part of a port is."""

    protocol_version = "HTTP/1.1"
    state: Proxy

    def do_CONNECT(self) -> None:
        self._note(self.path)
        with socket.create_connection(("127.0.0.1", int(self.path.rpartition(":")[2]))) as server:
            self.send_response(200)
            self.end_headers()
            both = (self.connection, server)
            while ready := select.select(both, (), (), 30)[0]:
                for one in ready:
                    if not (data := one.recv(1 << 16)):
                        self.close_connection = True
                        return
                    both[one is self.connection].sendall(data)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._note(parts.netloc)
        server = HTTPConnection("127.0.0.1", parts.port or 80)
        server.request("GET", parts.path, headers=dict(self.headers))
        answer = server.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        server.close()

    def _note(self, server: str) -> None:
        self.state.asked.append(server)
        self.state.users.add(self.headers.get("Proxy-Authorization", ""))

    @override
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with playing(Proxy(), ProxyHandler) as state:
        yield state


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    with playing(Files(tmp_path / "www", prefix=PREFIX), FileServer) as state:
        yield state


@pytest.fixture
def tls_files(tmp_path: Path) -> Iterator[tuple[Files, Path]]:
    """The same over TLS, and the authority that issued its certificate."""
    context, authority = serving_context(certificate_secret("team", "localhost", None, NOW))
    (tmp_path / "ca.crt").write_text(authority)
    state = Files(tmp_path / "www", prefix=PREFIX)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (FileServer,), {"state": state}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # who does not trust it leaves
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state, tmp_path / "ca.crt"
    server.shutdown()
    thread.join()
    server.server_close()


def brought(files: Files, folder: Path, endpoint: str) -> Path:
    digest = publish(files.folder, FILES)
    known = {"HF_ENDPOINT": endpoint, "HF_TOKEN": "t"}
    return bring(source_of(URI, "", known, lambda: NOW), URI, digest, folder / "cache", Progress())


def test_the_proxy_of_the_environment_is_asked(
    files: Files, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    found = brought(files, tmp_path, f"http://hub.invalid:{files.port}")
    assert (found / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert {*proxy.asked} == {f"hub.invalid:{files.port}"}
    assert {headers["Authorization"] for headers in files.headers} == {"Bearer t"}


@pytest.mark.parametrize("written", ["http://us%40r:p%3Aw@127.0.0.1:{port}/", "us%40r:p%3Aw@127.0.0.1:{port}"])
def test_a_proxy_hears_its_user_and_no_message_has_the_password(
    files: Files, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    monkeypatch.setenv("http_proxy", written.format(port=proxy.port))
    files.refuses = 403
    with pytest.raises(WeightsError, match=rf"\(through the proxy http://127.0.0.1:{proxy.port}, as ") as told:
        brought(files, tmp_path, f"http://hub.invalid:{files.port}")
    assert proxy.users == {"Basic " + base64.b64encode(b"us@r:p:w").decode()}
    assert "p%3Aw" not in str(told.value)


@pytest.mark.parametrize(
    ("excepted", "url", "is_straight"),
    [
        ("", "http://hub.example.com/", False),
        ("hub.example.com", "http://hub.example.com/", True),
        (".example.com", "http://hub.example.com:8080/", True),
        ("example.com", "http://hub.example.com/", True),
        ("example.com", "http://hub.badexample.com/", False),
        ("localhost, .svc", "http://mlflow.anneal.svc:5000/", True),
        ("localhost,.cluster.local", "http://anneal-mlflow.anneal.svc:5000/", True),
        ("", "http://anneal-mlflow.anneal.svc.cluster.local:5000/", True),
        ("", "http://svc.example.com/", False),
        ("localhost .example.com", "http://hub.example.com/", True),
        ("*.example.com", "http://hub.example.com/", True),
        ("*.example.com", "http://hub.badexample.com/", False),
        ("[fd00::7]", "http://[fd00::7]/", True),
        ("fd00::7", "http://[fd00::7]:9000/", True),
        ("hub.example.com:8080", "http://hub.example.com:9090/", False),
        ("*", "http://hub.example.com/", True),
        ("10.0.0.0/8,fd00::/8", "http://10.96.0.7:9000/", True),
        ("10.0.0.0/8,fd00::/8", "http://[fd00::7]:9000/", True),
        ("10.0.0.0/8", "http://11.0.0.1/", False),
        ("10.0.0.7", "http://10.0.0.7/", True),
        ("", "https://hub.example.com/", True),
    ],
)
def test_no_proxy_is_asked_for_hosts_that_are_excepted(
    monkeypatch: pytest.MonkeyPatch, excepted: str, url: str, is_straight: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert Ways(1, 1).proxy_of(url) == ("" if is_straight else "http://proxy:3128")


@pytest.mark.parametrize("written", ["socks5://proxy:1080", "http://", "proxy:none", "http://proxy:0"])
def test_a_proxy_that_is_no_address_is_told(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", written)
    monkeypatch.setenv("NO_PROXY", ".example.com")
    with pytest.raises(WeightsError, match="HTTPS_PROXY is no address of a proxy: write http://HOST:PORT"):
        Ways(1, 1).proxy_of("https://hub.example.net/")
    assert Ways(1, 1).proxy_of("https://hub.example.com/") == Ways(1, 1).proxy_of("http://hub.example.net/") == ""


def test_a_redirect_is_followed_in_its_own_way_and_the_token_stays_behind(
    files: Files, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Redirecting(FileServer):
        state: Files

        @override
        def do_GET(self) -> None:
            self.state.headers.append(dict(self.headers))
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{files.port}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with playing(Files(tmp_path), Redirecting) as hub:
        brought(files, tmp_path, f"http://hub.invalid:{hub.port}")
        assert {headers["Authorization"] for headers in hub.headers} == {"Bearer t"}
        assert {*proxy.asked} == {f"hub.invalid:{hub.port}"}
    assert not [headers for headers in files.headers if "Authorization" in headers]
    assert (tmp_path / "cache").exists()


def test_one_that_only_redirects_is_given_up(tmp_path: Path) -> None:
    class Redirecting(FileServer):
        state: Files

        @override
        def do_GET(self) -> None:
            self.state.asked["all"] += 1
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with (
        playing(Files(tmp_path / "www"), Redirecting) as hub,
        pytest.raises(WeightsError, match="cannot be downloaded: it leads elsewhere again and again"),
    ):
        brought(hub, tmp_path, f"http://127.0.0.1:{hub.port}")


@pytest.mark.parametrize("location", ["http://[fd00::7", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_what_is_no_address_of_http_is_told(tmp_path: Path, location: str) -> None:
    class Redirecting(FileServer):
        state: Files

        @override
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with (
        playing(Files(tmp_path / "www"), Redirecting) as hub,
        pytest.raises(WeightsError, match="cannot be downloaded: it leads to what is no address"),
    ):
        brought(hub, tmp_path, f"http://127.0.0.1:{hub.port}")


def test_an_authority_of_the_installation_is_trusted(
    tls_files: tuple[Files, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, authority = tls_files
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(authority))
    brought(files, tmp_path, f"https://localhost:{files.port}")


def test_a_proxy_leads_to_servers_with_tls_and_reads_nothing(
    tls_files: tuple[Files, Path], proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, authority = tls_files
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(authority))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    brought(files, tmp_path, f"https://localhost:{files.port}")
    assert {*proxy.asked} == {f"localhost:{files.port}"}


@pytest.mark.parametrize(
    ("named", "remedy"),
    [
        ("", "have the chart's `server.authorities` name a ConfigMap with the authority that issued it"),
        ("missing.crt", "this namespace has no ConfigMap as the chart's `server.authorities` names, with its key"),
        ("other.crt", "add the authority that issued it to the ConfigMap that the chart's `server.authorities` names"),
    ],
)
def test_another_s_certificate_is_refused_at_once_with_the_remedy(
    tls_files: tuple[Files, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, remedy: str
) -> None:
    (tmp_path / "other.crt").write_text(serving_context(certificate_secret("team", "localhost", None, NOW))[1])
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(tmp_path / named) if named else "")
    monkeypatch.setattr(ranges, "_FIRST_PAUSE_SECONDS", 3600)
    with pytest.raises(WeightsError, match=r"cannot be downloaded: its certificate is not trusted \(") as told:
        brought(tls_files[0], tmp_path, f"https://localhost:{tls_files[0].port}")
    assert str(told.value).endswith(remedy)


def test_a_certificate_of_another_host_is_nothing_that_an_authority_mends(
    tls_files: tuple[Files, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, authority = tls_files
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(authority))
    with pytest.raises(WeightsError, match=r"its certificate is not trusted \(.*mismatch.*\): name the server as its "):
        brought(files, tmp_path, f"https://127.0.0.1:{files.port}")


def test_a_file_of_authorities_without_any_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.crt").write_text("none")
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(tmp_path / "ca.crt"))
    with pytest.raises(
        WeightsError, match=r"ca.crt of the ConfigMap .* holds no certificates: write them there as PEM"
    ):
        Ways(1, 1)
