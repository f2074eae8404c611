"""A router's pod looks where backends are, and asks them, over real HTTP and TLS."""

import asyncio
import json
import ssl
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from serving_runtime.plan import BackendTarget, ModelRoute, RouteTable, Target
from serving_runtime.router import addresses, backends, probe
from serving_runtime.router.authorities import of_backends, own_authorities, trusting
from serving_runtime.router.backends import Backends
from serving_runtime.router.endpoints import Known, endpoints_document, hosts_before
from serving_runtime.terms import AUTHORITIES_VARIABLE, digest_of_target
from tests.router.hosted import Hosted, hosted
from tests.support.authority import Authority, authority
from tests.support.http_server import playing

HOST = "api.example.com"


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Trusted by this process, in which a host's address is its own."""
    made = authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    monkeypatch.setattr(addresses, "REFUSED", ())
    monkeypatch.setattr(addresses, "resolved", lambda *_: ["127.0.0.1"])
    return made


@pytest.fixture
def api(trusted: Authority) -> Iterator[Hosted]:
    with hosted(trusted.context(HOST)) as made:
        yield made


def _backends(folder: Path, port: int, known: Known | None = None, **changes: Any) -> Backends:
    fields = {"scheme": "https", "host": HOST, "port": port, "path": "/v1", "key": "api/token", **changes}
    target = Target(host="", port=0, model="large-2", backend=BackendTarget.model_validate(fields))
    table = RouteTable(targets={"v": target}, models={"m": ModelRoute(default=None, named={})})
    routes = folder / "routes.json"
    routes.write_text(json.dumps(table.document(table.stamped("2026-03-01T12:00:00Z", 1))))
    (folder / "api").mkdir(exist_ok=True)
    (folder / "api" / "token").write_text("hosted-key\n")
    return Backends(known or Known(), routes, folder / "backends.json", folder, lambda: 0.0)


def _look(looking: Backends, times: int = 1) -> dict[str, str]:
    """Look so many times, each time as if it were due."""

    async def look() -> None:
        for _ in range(times):
            looking.clock = partial(float, looking.clock() + 60)
            await looking.look()

    asyncio.run(look())
    return {field: text for field, text in _told(looking)["v"].items() if field != "asked"}


def _told(looking: Backends) -> dict[str, dict[str, str]]:
    asyncio.run(looking.look())
    told: dict[str, dict[str, str]] = json.loads(looking.target.read_text())["backends"]
    return told


def _unknown(*_: object) -> list[str]:
    raise OSError("Name or service not known")


def test_one_that_answers_and_has_the_model_is_told_of_with_its_addresses(tmp_path: Path, api: Hosted) -> None:
    looking = _backends(tmp_path, api.port)
    asked = digest_of_target(json.loads(looking.table.read_text())["targets"]["v"])
    assert (_look(looking), _told(looking)["v"]) == ({}, {"asked": asked})
    assert (api.keys, api.paths, set(api.names)) == (["Bearer hosted-key"], ["/v1/models"], {HOST})
    assert looking.known.resolved == {HOST: ["127.0.0.1"]}
    targets = json.loads(looking.table.read_text())["targets"]
    told = endpoints_document([], targets, looking.known.resolved)["targets"]
    assert told == {"v": [{"address": "127.0.0.1", "port": api.port, "pod": HOST, "uid": HOST}]}


def test_it_is_asked_again_only_when_it_is_due_or_its_key_has_changed(tmp_path: Path, api: Hosted) -> None:
    looking = _backends(tmp_path, api.port)
    _look(looking)
    asyncio.run(looking.look())
    assert len(api.keys) == 1
    (tmp_path / "api" / "token").write_text("another")
    asyncio.run(looking.look())
    assert api.keys[1:] == ["Bearer another"]
    assert json.loads(looking.target.read_text())["backends"]["v"]["problem"] == "KeyRefused"


@pytest.mark.parametrize(
    ("status", "models", "problem", "said"),
    [
        (200, ["models/large-2"], None, ""),
        (200, ["large-20"], "ModelUnknown", "lists no `large-2`"),
        (200, [], "ModelUnknown", "lists no `large-2`"),
        (429, [], None, ""),
        (401, [], "KeyRefused", "does not take the key of `backend.apiKey`"),
        (403, [], "KeyRefused", "does not take the key of `backend.apiKey`"),
        (302, [], "Unusable", "leads elsewhere"),
        (404, [], "Unusable", "has to be the API's `base_url`"),
        (503, [], "Unreachable", "fails (status 503)"),
    ],
)
def test_what_is_wrong_is_told_in_our_words(
    tmp_path: Path, api: Hosted, status: int, models: list[str], problem: str | None, said: str
) -> None:
    api.lists_with, api.models = status, models
    told = _look(_backends(tmp_path, api.port))
    assert told.get("problem") == problem
    assert said in told.get("message", "")
    assert "hosted-k" not in json.dumps(told)


def test_a_certificate_of_another_name_or_authority_is_told_of_and_gets_no_key(
    tmp_path: Path, trusted: Authority
) -> None:
    (tmp_path / "other").mkdir()
    for context in (trusted.context("other.example.com"), authority(tmp_path / "other").context(HOST)):
        with hosted(context) as api:
            told = _look(_backends(tmp_path, api.port))
            assert told["problem"] == "Unreachable"
            assert "its certificate does not hold" in told["message"]
            assert api.keys == []


def test_an_authority_of_the_installation_s_own_is_trusted_for_the_names_that_it_vouches_for(
    tmp_path: Path, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    own = authority(tmp_path / "other", "own")
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(own.file))
    for context, problem in (
        (own.context(HOST), None),
        (trusted.context(HOST), None),
        (own.context("other.example.com"), "Unreachable"),
    ):
        with hosted(context) as api:
            looking = _backends(tmp_path, api.port)
            looking.authorities = own_authorities()
            assert _look(looking).get("problem") == problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file or directory"),
        ("", "it holds no certificates as PEM"),
        ("junk", "it holds no certificates as PEM"),
    ],
)
def test_authorities_that_cannot_be_read_are_told_of_and_keep_no_router_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str | None, said: str
) -> None:
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(tmp_path / "ca.crt"))
    if text is not None:
        (tmp_path / "ca.crt").write_text(text)
    assert own_authorities() == ""
    assert caplog.messages == [f"ca.crt of the ConfigMap that the chart's `server.authorities` names: {said}"]


def test_what_asks_it_is_as_strict_as_nginx_whichever_python_it_is(
    trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 takes an authority without its root, by which nginx would answer 502 for what is told as ready."""
    plain, made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.create_default_context
    strict = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN

    def as_in_3_13() -> ssl.SSLContext:
        context = made()
        context.verify_flags |= strict
        return context

    monkeypatch.setattr(ssl, "create_default_context", as_in_3_13)
    for own in ("", trusted.file.read_text()):
        assert trusting(own).verify_flags & strict == plain.verify_flags & strict == 0


_BEGINNING = "-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize(
    "text", [None, "", "junk", _BEGINNING, f"{_BEGINNING}\nAAAA\n-----END CERTIFICATE-----", _BEGINNING * 30_000]
)
def test_one_without_its_own_authorities_is_told_of_by_the_field_and_not_asked(
    tmp_path: Path, api: Hosted, text: str | None
) -> None:
    looking = _backends(tmp_path, api.port, trusted="v/one")
    _made(tmp_path, "v/one", text)
    looking.trusted = of_backends(tmp_path / "trusted")
    told = _look(looking)
    assert (told["problem"], api.keys) == ("AuthoritiesMissing", [])
    assert "`backend.caCertificateRef`" in told["message"]


def test_what_stands_beside_certificates_goes_no_further(
    tmp_path: Path, trusted: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx would not start by a list or key that is broken, nor what starts it by a letter that is not ASCII."""
    certificate = trusted.file.read_text()
    others = ("X509 CRL", "RSA PRIVATE KEY", "TRUSTED CERTIFICATE")
    broken = "".join(f"-----BEGIN {what}-----\nAAAA\n-----END {what}-----\n" for what in others)
    _made(tmp_path, "v/one", f"# Türk kök\r\n{certificate}{broken}{certificate}")
    assert of_backends(tmp_path / "trusted") == {"v/one": certificate * 2}
    (tmp_path / "ca.crt").write_bytes(b"\xff\xfe " + certificate.encode())
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(tmp_path / "ca.crt"))
    assert own_authorities() == certificate


def test_its_own_authorities_alone_vouch_for_one_and_for_no_other(tmp_path: Path, trusted: Authority) -> None:
    (tmp_path / "other").mkdir()
    own = authority(tmp_path / "other", "own")
    _made(tmp_path, "v/one", own.file.read_text())
    of = of_backends(tmp_path / "trusted")
    assert list(of) == ["v/one"]
    for context, file, problem in (
        (own.context(HOST), "v/one", None),
        (own.context("other.example.com"), "v/one", "Unreachable"),
        (trusted.context(HOST), "v/one", "Unreachable"),
        (trusted.context(HOST), "", None),
        (own.context(HOST), "", "Unreachable"),
    ):
        with hosted(context) as asked:
            looking = _backends(tmp_path, asked.port, trusted=file)
            looking.trusted = of
            assert _look(looking).get("problem") == problem


def _made(folder: Path, name: str, text: str | None) -> None:
    """As the kubelet has it: what is there lies elsewhere, and links lead to it."""
    behind = folder / "trusted" / "..2026" / name
    behind.parent.mkdir(parents=True)
    if text is not None:
        behind.write_text(text)
    (folder / "trusted" / "..data").symlink_to("..2026")
    (folder / "trusted" / name.partition("/")[0]).symlink_to(f"..data/{name.partition('/')[0]}")


def test_a_key_that_is_missing_is_told_of_and_nobody_is_asked(tmp_path: Path, api: Hosted) -> None:
    looking = _backends(tmp_path, api.port)
    for text in (None, "", "two words", "a\nb"):
        (tmp_path / "api" / "token").unlink(missing_ok=True)
        if text is not None:
            (tmp_path / "api" / "token").write_text(text)
        assert _look(looking)["problem"] == "KeyMissing"
    assert api.keys == []
    (tmp_path / "api" / "token").write_text("hosted-key")
    assert _look(looking) == {}


def test_one_failure_of_one_that_answered_is_not_told(tmp_path: Path, api: Hosted) -> None:
    looking = _backends(tmp_path, api.port)
    _look(looking)
    api.lists_with = 500
    assert _look(looking) == {}
    assert _look(looking)["problem"] == "Unreachable"
    api.lists_with = 200
    assert _look(looking) == {}


def test_one_without_a_key_that_demands_one_is_told_of(tmp_path: Path, api: Hosted) -> None:
    assert "name one in `backend.apiKey`" in _look(_backends(tmp_path, api.port, key=""))["message"]


def test_a_host_that_leads_where_nobody_is_sent_is_not_asked(
    tmp_path: Path, api: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(addresses, "resolved", lambda *_: ["169.254.169.254", "127.0.0.1"])
    looking = _backends(tmp_path, api.port)
    told = _look(looking)
    assert told["problem"] == "AddressRefused"
    assert looking.known.resolved == {HOST: []}
    assert api.keys == []


def test_a_host_that_cannot_be_looked_up_stays_where_it_was(
    tmp_path: Path, api: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = _backends(tmp_path, api.port)
    _look(looking)
    monkeypatch.setattr(addresses, "resolved", _unknown)
    assert _look(looking, 3) == {}
    assert looking.known.resolved == {HOST: ["127.0.0.1"]}
    assert "cannot be looked up" in _look(_backends(tmp_path, api.port))["message"]


def test_one_that_takes_too_long_holds_nobody_up(tmp_path: Path, api: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object) -> probe.Report:
        await asyncio.sleep(60)
        return {}

    monkeypatch.setattr(backends, "_LONGEST_SECONDS", 0.05)
    monkeypatch.setattr(backends, "probed", hangs)
    looking = _backends(tmp_path, api.port)
    asyncio.run(looking.look())
    assert json.loads(looking.target.read_text())["backends"]["v"]["problem"] == "Unreachable"


def test_a_backend_that_is_gone_from_the_table_is_forgotten(tmp_path: Path, api: Hosted) -> None:
    looking = _backends(tmp_path, api.port)
    _look(looking)
    table = RouteTable(targets={}, models={})
    looking.table.write_text(json.dumps(table.document(table.stamped("2026-03-01T12:00:00Z", 2))))
    asyncio.run(looking.look())
    assert (json.loads(looking.target.read_text()), looking.known.resolved) == ({"backends": {}}, {})


def test_the_pods_of_a_service_are_asked_at_the_port_of_its_name(tmp_path: Path, trusted: Authority) -> None:
    del trusted
    with hosted(key="") as api:
        ports = [{"name": "metrics", "port": 1}, {"name": "http", "port": api.port}]
        ready = {"addresses": ["127.0.0.1"], "conditions": {"ready": True}, "targetRef": {"name": "p", "uid": "u"}}
        metadata = {"name": "s", "labels": {"kubernetes.io/service-name": "vllm"}}
        known = Known({"s": {"metadata": metadata, "addressType": "IPv4", "ports": ports, "endpoints": [ready]}})
        inner = {"scheme": "http", "host": "vllm.team.svc", "key": "", "port_name": "http", "service": "vllm"}
        looking = _backends(tmp_path, 80, known, **inner)
        assert _look(looking) == {}
        assert api.paths == ["/v1/models"]
        known.slices = {}
        assert _look(looking, 2)["message"] == "no pod of Service vllm is ready"


@pytest.mark.parametrize(
    ("address", "is_refused"),
    [
        ("169.254.169.254", True),
        ("127.0.0.1", True),
        ("0.1.2.3", True),
        ("100.100.100.200", True),
        ("168.63.129.16", True),
        ("224.0.0.1", True),
        ("::1", True),
        ("fe80::1%eth0", True),
        ("fd00:ec2::254", True),
        ("::ffff:169.254.169.254", True),
        ("::169.254.169.254", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("64:ff9b:1::a9fe:a9fe", True),
        ("2001:0:a9fe:a9fe::1", True),
        ("2002:a9fe:a9fe::1", True),
        ("metadata", True),
        ("10.0.0.7", False),
        ("192.168.1.1", False),
        ("93.184.215.14", False),
        ("2606:2800:21f::1", False),
        ("64:ff9b::5db8:d70e", False),
    ],
)
def test_which_addresses_are_asked_for_nobody(address: str, is_refused: bool) -> None:
    assert addresses.is_refused(address) == is_refused


def test_a_service_is_not_judged_before_its_pods_are_known(tmp_path: Path) -> None:
    inner = {"scheme": "http", "host": "vllm.team.svc", "key": "", "port_name": "", "service": "vllm"}
    looking = _backends(tmp_path, 80, None, **inner)
    assert _told(looking) == {}


def test_another_backend_of_the_same_name_is_not_asked_where_the_last_one_was(
    tmp_path: Path, api: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = _backends(tmp_path, api.port)
    _look(looking)
    monkeypatch.setattr(addresses, "resolved", _unknown)
    _backends(tmp_path, api.port, host="other.example.com")
    assert "cannot be looked up" in _look(looking)["message"]
    assert looking.known.resolved == {}


def test_another_backend_of_the_same_name_is_never_told_the_last_one_s_key(tmp_path: Path, api: Hosted) -> None:
    """A pod mounts what it did as it was made, and its routes change at once."""
    _look(_backends(tmp_path, api.port))
    before = len(api.keys)
    looking = _backends(tmp_path, api.port, key="another/token")
    assert _look(looking)["problem"] == "KeyMissing"
    assert len(api.keys) == before


@dataclass
class _Saying:
    """A server that answers so, and goes on with the last piece for as long as it is listened to."""

    pieces: Sequence[bytes]
    port: int = 0


class _Speaker(BaseHTTPRequestHandler):
    state: _Saying

    @override
    def handle(self) -> None:
        self.request.recv(4096)
        with suppress(OSError):
            for piece in chain(self.state.pieces, repeat(self.state.pieces[-1])):
                self.request.sendall(piece)
                time.sleep(0.01 if len(piece) < 1000 else 0)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([OK, b'{"data":' + b"[" * 100_000], "lists no `large-2`"),
        ([OK, b'{"data":[' + b"{}," * 100_000], "lists no `large-2`"),
        ([OK, b'{"data":[{"id":"\\ud8'], "took longer than 0.5 s"),
        ([b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"], "took longer than 0.5 s"),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], "took longer than 0.5 s"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], "RemoteProtocolError"),
        ([b"no HTTP at all\r\n\r\n"], "RemoteProtocolError"),
    ],
)
def test_whatever_one_answers_the_others_are_told_of(
    tmp_path: Path, trusted: Authority, monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], said: str
) -> None:
    """Nor do its words lie in this process, which has little memory."""
    monkeypatch.setattr(probe, "_SECONDS", 0.5)
    with hosted(trusted.context(HOST)) as api, playing(_Saying(pieces), _Speaker) as speaking:
        looking = _backends(tmp_path, api.port)
        table = json.loads(looking.table.read_text())
        hostile = {**table["targets"]["v"]["backend"], "scheme": "http", "port": speaking.port, "key": ""}
        table["targets"]["hostile"] = {**table["targets"]["v"], "backend": hostile}
        looking.table.write_text(json.dumps(table))
        tracemalloc.start()
        assert _look(looking) == {}
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert said in _told(looking)["hostile"]["message"]
    assert peak < 4 << 20


def test_a_name_server_that_is_silent_is_asked_once_and_what_was_known_holds(
    tmp_path: Path, api: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> list[str]:
        asked.append(1)
        over.wait(20)
        return ["127.0.0.9"]

    asked: list[int] = []
    over = threading.Event()
    looking = _backends(tmp_path, api.port)
    _look(looking)
    monkeypatch.setattr(backends, "_LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr(addresses, "resolved", silent)

    async def look() -> None:
        for _ in range(3):
            looking.clock = partial(float, looking.clock() + 60)
            await looking.look()
        over.set()

    asyncio.run(look())
    assert asked == [1]
    assert looking.known.resolved == {HOST: ["127.0.0.1"]}
    assert _told(looking)["v"].get("problem") is None


def test_a_host_s_addresses_are_nobody_else_s_however_late_they_come(tmp_path: Path, api: Hosted) -> None:
    """As where a version is made anew under its name before its last host was looked up."""
    looking = _backends(tmp_path, api.port)
    _look(looking)
    _backends(tmp_path, api.port, host="other.example.com")
    targets = json.loads(looking.table.read_text())["targets"]
    assert endpoints_document([], targets, looking.known.resolved)["targets"] == {"v": []}


def test_an_agent_that_begins_anew_knows_where_hosts_were(tmp_path: Path, api: Hosted) -> None:
    """Else its first file would send the clients of all backends away."""
    looking, file = _backends(tmp_path, api.port), tmp_path / "endpoints.json"
    assert hosts_before(file) == {}
    _look(looking)
    targets = json.loads(looking.table.read_text())["targets"]
    pod = {"addresses": ["10.0.0.7"], "targetRef": {"name": "p", "uid": "u"}}
    metadata = {"name": "s", "labels": {"kubernetes.io/service-name": "own"}}
    own = {"metadata": metadata, "addressType": "IPv4", "ports": [{"port": 8000}], "endpoints": [pod]}
    told = endpoints_document([own], {**targets, "own": {"service": "own"}}, looking.known.resolved)
    file.write_text(json.dumps(told))
    assert told["targets"]["own"]
    assert hosts_before(file) == {HOST: ["127.0.0.1"]}
    for spoilt in ("", "[]", '{"targets":{"v":[1]}}'):
        file.write_text(spoilt)
        assert hosts_before(file) == {}
