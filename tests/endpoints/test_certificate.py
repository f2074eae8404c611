"""Training pods trust this certificate, for this host, and no other."""

import asyncio
import ssl

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from anneal_operator.cluster.kinds import Manifest
from anneal_operator.endpoints.certificate import certificate_secret, serving_context
from anneal_operator.endpoints.progress import start_server

HOST = "anneal-progress.system.svc"


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
    secret = certificate_secret("system", HOST)
    assert _connect(secret, trusting=_served(secret)[1]) == "hello"


@pytest.mark.parametrize("host", ["anneal-progress.other.svc", "localhost"])
def test_it_does_not_speak_for_another_host(host: str) -> None:
    secret = certificate_secret("system", HOST)
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="Hostname mismatch"):
        _connect(secret, trusting=_served(secret)[1], host=host)


def test_another_operators_certificate_is_not_trusted() -> None:
    secret, other = certificate_secret("system", HOST), certificate_secret("system", HOST)
    with pytest.raises(aiohttp.ClientConnectorCertificateError, match="verify failed"):
        _connect(secret, trusting=_served(other)[1])


def test_the_secret_is_one_of_kubernetes_own_kind() -> None:
    secret = certificate_secret("system", HOST)
    assert (secret["type"], set(secret["data"])) == ("kubernetes.io/tls", {"tls.crt", "tls.key"})
    assert secret["metadata"] == {"name": "anneal-progress-tls", "namespace": "system"}


def test_what_pods_are_given_to_trust_holds_no_key() -> None:
    pem = _served(certificate_secret("system", HOST))[1]
    assert pem.count("BEGIN") == pem.count("BEGIN CERTIFICATE") == 1


def test_it_can_sign_nothing_but_itself() -> None:
    certificate = x509.load_pem_x509_certificate(_served(certificate_secret("system", HOST))[1].encode())
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days >= 3650
