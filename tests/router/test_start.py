"""How nginx is started in the router's container."""

import re
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest

from serving_runtime.plan import (
    ADMIN_PORT,
    AUTHORITIES_VARIABLE,
    BACKEND_KEYS_FOLDER,
    CLIENT_PORT,
    RECORDS_FOLDER,
    BackendTarget,
    ModelRoute,
    RouteTable,
    Target,
)
from serving_runtime.router import __main__ as router
from serving_runtime.router import authorities
from tests.support.authority import authority
from toolbox.polling import poll

from . import stand
from .hosted import hosted


@pytest.mark.parametrize(("cores", "workers"), [(None, 1), ("1", 1), ("4", 4)])
def test_there_is_a_worker_for_each_core_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, cores: str | None, workers: int
) -> None:
    started: list[Any] = []
    monkeypatch.setattr(router, "attend", lambda *call: started.append(call))
    monkeypatch.delenv("ANNEAL_CORES", raising=False)
    if cores:
        monkeypatch.setenv("ANNEAL_CORES", cores)
    router.main()
    ((command, records),) = started
    assert command[-1] == f"daemon off; worker_processes {workers};"
    assert (Path(command[command.index("-p") + 1]) / command[command.index("-c") + 1]).exists()
    assert records == Path(RECORDS_FOLDER)


def test_authorities_of_one_s_own_are_trusted_beside_the_public_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, public = authority(_made(tmp_path / "own"), "own"), authority(_made(tmp_path / "public"))
    monkeypatch.setenv(AUTHORITIES_VARIABLE, str(own.file))
    ours = (Path(router.__file__).parent / "router.conf").read_text()
    assert f"proxy_ssl_trusted_certificate {authorities.PUBLIC};" in ours
    monkeypatch.setattr(authorities, "PUBLIC", str(public.file))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "router.conf").write_text(ours.replace("/etc/ssl/certs/ca-certificates.crt", str(public.file)))
    made = authorities.configuration(tmp_path / "router.conf", authorities.own_authorities(), {}).read_text()
    [trusted] = re.findall("proxy_ssl_trusted_certificate (.*);", made)
    hosts = {"public": public.context("api.example.com"), "own": own.context("llm.corp")}
    with hosted(hosts["public"]) as one, hosted(hosts["own"]) as other, hosted(own.context("else.corp")) as misnamed:
        places = {"public": ("api.example.com", one), "own": ("llm.corp", other), "misnamed": ("llm.corp", misnamed)}
        targets = {
            name: Target(
                host="",
                port=0,
                model="m",
                backend=BackendTarget(scheme="https", host=host, port=api.port, path="/v1", key="token"),
            )
            for name, (host, api) in places.items()
        }
        table = RouteTable(targets=targets, models={name: ModelRoute(default=name, named={}) for name in targets})
        _made(tmp_path / "keys").joinpath("token").write_text("hosted-key")
        changes = {"/etc/ssl/certs/ca-certificates.crt": trusted, "/etc/anneal/backend-keys/": f"{tmp_path}/keys/"}
        with stand.standing(_made(tmp_path / "router"), changes, routes=table) as standing:
            standing.write_endpoints({name: [api.port] for name, (_, api) in places.items()})
            assert poll(lambda: standing.chat("public").status == 200, 5)
            assert [standing.chat(name).status for name in places] == [200, 200, 502]
        assert (other.names, other.keys) == (["llm.corp"], ["Bearer hosted-key"])
        assert misnamed.keys == []


def test_what_a_single_backend_is_verified_by_stands_beside_what_the_others_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ours = Path(router.__file__).parent / "router.conf"
    made = authorities.configuration(ours, "", {"v/0a": "one's", "w/0b": "another's"}).read_text()
    public, *files = re.findall("proxy_ssl_trusted_certificate (.*);", made)
    assert (public, [Path(file).read_text() for file in files]) == (authorities.PUBLIC, ["one's", "another's"])
    assert re.findall("location @(v.*|w.*) {", made) == ["v/0a", "w/0b"]
    assert 'router.trust({ ["v/0a"] = true, ["w/0b"] = true, })' in made
    asking = [part.partition("\n    }\n")[0] for part in made.split("      proxy_pass $upstream;")[1:]]
    plain = [
        part.replace(file, authorities.PUBLIC) for part, file in zip(asking, [authorities.PUBLIC, *files], strict=True)
    ]
    assert plain == [plain[0]] * 3
    assert authorities.configuration(ours, "", {}) == ours


@pytest.mark.parametrize(
    "beside",
    [
        "# NetLock Arany (Class Gold) Főtanúsítvány\n",
        "\ufeff",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ],
)
def test_what_stands_beside_certificates_keeps_no_router_from_starting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, beside: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = authority(_made(tmp_path / "own"))
    found = _made(_made(tmp_path / "mounted") / "v") / "0a"
    found.write_text(f"{beside}{own.file.read_text()}")
    trusted = authorities.of_backends(tmp_path / "mounted")
    made = authorities.configuration(Path(router.__file__).parent / "router.conf", "", trusted)
    _, file = re.findall("proxy_ssl_trusted_certificate (.*);", made.read_text())
    places = {"/authorities/own": file}
    with stand.standing(_made(tmp_path / "router"), places, files={"v/0a": "/authorities/own"}) as standing:
        assert standing.chat().status == 200


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_places_and_ports_are_those_of_the_configuration() -> None:
    text = (Path(router.__file__).parent / "router.conf").read_text()
    assert f'router.start("/shared/routes.json", "{RECORDS_FOLDER}", "{BACKEND_KEYS_FOLDER}/", 1024)' in text
    assert re.findall(r"^ *listen (.*);", text, re.MULTILINE) == [str(CLIENT_PORT), str(ADMIN_PORT)]


def test_a_port_that_another_process_took_meanwhile_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = stand._free_ports  # noqa: SLF001
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [[int(taken.getsockname()[1]), *free(1)]]
        monkeypatch.setattr(stand, "_free_ports", lambda count: given.pop() if given else free(count))
        with stand.standing(tmp_path) as standing:
            assert standing.chat().status == 200
    assert not given


@pytest.mark.parametrize("variable", stand.KEYS)
@pytest.mark.parametrize("text", ["", " \n"])
def test_without_a_key_it_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, text: str
) -> None:
    monkeypatch.setitem(stand.KEYS, variable, text)
    with (
        pytest.raises(AssertionError, match=f"{variable} is not set: the namespace's Secret `anneal-router` holds"),
        stand.standing(tmp_path),
    ):
        pass
