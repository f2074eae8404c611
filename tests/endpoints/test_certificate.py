"""Training pods trust this certificate, for this host, and no other."""

import asyncio
import base64
import ssl
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.endpoints.certificate import certificate_secret, serving_context
from anneal_operator.endpoints.progress import start_server

HOST = "anneal-progress.system.svc"
NOW = datetime.now(UTC)
YEAR = timedelta(days=365)


def _secret(stored: Manifest | None = None, host: str = HOST, after: timedelta = timedelta(0)) -> Manifest:
    """The Secret that an operator wants that starts so long after now."""
    return certificate_secret("system", host, stored, NOW + after)


def _served(secret: Manifest) -> tuple[ssl.SSLContext, str]:
    """What the endpoint serves with, after the Secret was at the API server."""
    return serving_context({**secret, "metadata": {**secret["metadata"], "uid": "u", "resourceVersion": "1"}})


def _connect(secret: Manifest, *, trusting: str, host: str = HOST) -> str:
    """Ask a server with this Secret over TLS, as a pod that trusts this PEM and knows the server by this name."""

    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def run() -> str:
        app = web.Application()
        app.router.add_get("/", hello)
        runner = await start_server(app, 0, _served(secret)[0])
        port = next(address[1] for address in runner.addresses if "." in address[0])  # IPv6 has another one
        trust = ssl.create_default_context(cadata=trusting)
        trust.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 has it
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"https://127.0.0.1:{port}/", ssl=trust, server_hostname=host) as answer,
            ):
                return await answer.text()
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_a_pod_that_trusts_the_certificate_connects() -> None:
    secret = _secret()
    assert _connect(secret, trusting=_served(secret)[1]) == "hello"


def test_a_pod_whose_clock_is_half_an_hour_behind_connects() -> None:
    secret = _secret(after=timedelta(minutes=30))
    assert _connect(secret, trusting=_served(secret)[1]) == "hello"


@pytest.mark.parametrize("host", ["anneal-progress.other.svc", "localhost"])
def test_it_does_not_speak_for_another_host(host: str) -> None:
    secret = _secret()
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="Hostname mismatch"):
        _connect(secret, trusting=_served(secret)[1], host=host)


def test_another_operators_certificate_is_not_trusted() -> None:
    secret, other = _secret(), _secret()
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="verify failed"):
        _connect(secret, trusting=_served(other)[1])


def test_the_secret_is_one_of_kubernetes_own_kind() -> None:
    secret = _secret()
    assert (secret["type"], set(secret["data"])) == ("kubernetes.io/tls", {"tls.crt", "tls.key", "ca.crt", "ca.key"})
    assert secret["metadata"] == {"name": "anneal-progress-tls", "namespace": "system"}


def test_what_pods_are_given_to_trust_holds_no_key() -> None:
    pem = _served(_secret())[1]
    assert pem.count("BEGIN") == pem.count("BEGIN CERTIFICATE") == 1


def test_what_pods_trust_can_make_no_further_authority() -> None:
    authority = x509.load_pem_x509_certificate(_served(_secret())[1].encode())
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert authority.not_valid_after_utc - NOW > 10 * YEAR


@pytest.mark.parametrize("after", [timedelta(0), 4 * YEAR])
def test_a_certificate_that_will_do_is_kept(after: timedelta) -> None:
    stored = _secret()
    assert _secret(stored, after=after) == stored


@pytest.mark.parametrize(
    ("host", "after"),
    [
        ("anneal-operator.elsewhere.svc", timedelta(0)),
        (HOST, 5 * YEAR - timedelta(days=29)),
        (HOST, 6 * YEAR),
    ],
    ids=["is another host's", "ends soon", "has ended"],
)
def test_a_certificate_is_replaced_but_not_its_authority_when_it(host: str, after: timedelta) -> None:
    stored = _secret()
    made = _secret(stored, host, after)
    kept = {name for name, value in stored["data"].items() if made["data"][name] == value}
    assert kept == {"ca.crt", "ca.key"}
    assert _secret(made, host, after) == made


def test_a_pod_that_trusted_the_old_certificate_trusts_the_new() -> None:
    stored = _secret(host="anneal-operator.elsewhere.svc")
    assert _connect(_secret(stored), trusting=_served(stored)[1]) == "hello"


def test_an_authority_that_ends_soon_is_replaced_and_no_certificate_outlasts_its_own() -> None:
    stored, late = _secret(), 20 * YEAR - timedelta(days=31)
    kept = _secret(stored, after=late)
    end = x509.load_pem_x509_certificate(base64.b64decode(kept["data"]["tls.crt"])).not_valid_after_utc
    assert kept["data"]["ca.crt"] == stored["data"]["ca.crt"]
    assert end <= NOW + 20 * YEAR
    made = _secret(kept, after=late + timedelta(days=2))
    assert made["data"]["ca.crt"] != stored["data"]["ca.crt"]


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
@pytest.mark.parametrize("value", [None, "%", "bm90IFBFTQ==", "another's"])
def test_what_cannot_be_served_is_made_anew(name: str, value: str | None) -> None:
    broken = _secret()
    broken["data"][name] = _secret()["data"][name] if value == "another's" else value
    if value is None:
        del broken["data"][name]
    made = _secret(broken)
    assert _connect(made, trusting=_served(made)[1]) == "hello"
