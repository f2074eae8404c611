"""The ways to servers: through a proxy where the environment says so, and who vouches for their certificates.

`HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` are read as curl reads them, in small letters first; a network (`10.0.0.0/8`)
in the last holds for hosts that are written as addresses, and `*.example.com` is `.example.com`. No proxy is asked for
the cluster's own Services, such as MLflow: few know them. A server that redirects chooses the next host, and that is
reached in its own way.
"""

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.util import make_headers

from serving_runtime.plan import AUTHORITIES_VARIABLE

from .published import WeightsError

__all__ = ["Ways", "untrusted"]

_CONNECT_SECONDS = 10.0
_REDIRECTS = 5
_OF_ONE_HOST_ALONE = ("Authorization", "Cookie")
_OF_SERVER = frozenset({9, 10, 62, 64})
"""OpenSSL's codes for a certificate that is not valid yet, or no more, or of another host or address."""
_SERVICE = re.compile(r"[^.]+\.[^.]+\.svc(\..+)?")
"""How a Service is called from other namespaces, with the cluster's domain or without."""


class Ways:
    """GETs over as many connections to a host at once, whose answers begin within so many seconds."""

    def __init__(self, connections: int, answers_within: float) -> None:
        once = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=0)
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=answers_within)
        self._made: dict[str, Any] = {
            "maxsize": connections,
            "timeout": timeout,
            "retries": once,
            "ssl_context": _trusting(),
        }
        self._straight = urllib3.PoolManager(**self._made)
        self._proxies = _proxies()
        self._through = {
            scheme: self._by(proxy) for scheme, proxy in self._proxies.items() if scheme != "no" and _is_address(proxy)
        }

    def get(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Return an answer that is not read yet, and is no redirect; what is said to one host is told to no other."""
        said = dict(headers)
        for _ in range(_REDIRECTS + 1):
            way = self._through[urlsplit(url).scheme] if self.proxy_of(url) else self._straight
            answer = way.request("GET", url, headers=said, preload_content=False, redirect=False)
            if not (location := answer.get_redirect_location()):
                return answer
            answer.drain_conn()
            before, url = url, _next(url, location)
            if _server(url) != _server(before):
                said = {name: value for name, value in said.items() if name not in _OF_ONE_HOST_ALONE}
        raise HTTPError("it leads elsewhere again and again")

    def proxy_of(self, url: str) -> str:
        """Return the proxy on the way to an address, without its password; nothing where there is none.

        Raise WeightsError where it cannot be asked; of one that is not on the way nothing is said.
        """
        parts = urlsplit(url)
        if parts.scheme not in self._proxies or _is_excepted(parts.netloc.rpartition("@")[2], self._proxies):
            return ""
        if parts.scheme not in self._through:
            raise WeightsError(f"{parts.scheme.upper()}_PROXY is no address of a proxy: write http://HOST:PORT")
        proxy = urlsplit(self._proxies[parts.scheme])
        return f"{proxy.scheme}://{proxy.netloc.rpartition('@')[2]}"

    def _by(self, proxy: str) -> urllib3.ProxyManager:
        parts = urlsplit(proxy)
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else None
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        headers = make_headers(proxy_basic_auth=user)
        return urllib3.ProxyManager(address, proxy_headers=headers, proxy_ssl_context=_trusting(), **self._made)


def untrusted(error: BaseException) -> str:
    """Return what to do where a server's certificate is not trusted; nothing where that is not what happened."""
    inner: object = error
    while isinstance(inner, BaseException) and not isinstance(inner, ssl.SSLCertVerificationError):
        inner = getattr(inner, "reason", None) or inner.__cause__ or next(iter(inner.args), None)
    if not isinstance(inner, ssl.SSLCertVerificationError):
        return ""
    told = f"its certificate is not trusted ({inner.verify_message})"
    if inner.verify_code in _OF_SERVER:
        return f"{told}: name the server as its certificate does, or have it get another; no authority changes that"
    path = os.environ.get(AUTHORITIES_VARIABLE, "")
    if not path:
        return f"{told}: have the chart's `server.authorities` name a ConfigMap with the authority that issued it"
    if not Path(path).is_file():
        return f"{told}, and this namespace has no ConfigMap as the chart's `server.authorities` names, with its key"
    return f"{told}: add the authority that issued it to the ConfigMap that the chart's `server.authorities` names"


def _trusting() -> ssl.SSLContext:
    """Whom everybody trusts, and whom the installation does beside."""
    context = ssl.create_default_context()
    # From Python 3.13 on, certificates are refused whose issuer left an extension out, as many a company's own did.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    path = Path(os.environ.get(AUTHORITIES_VARIABLE, "") or "/dev/null")
    if path.is_file():
        try:
            context.load_verify_locations(path)
        except (ssl.SSLError, ValueError) as error:
            raise WeightsError(
                f"{path.name} of the ConfigMap that the chart's `server.authorities` names holds no certificates: "
                "write them there as PEM"
            ) from error
    return context


def _proxies() -> dict[str, str]:
    """By the scheme that they are for, with a scheme of their own; and under `no` who is reached without."""
    found = {name: value.strip() for name, value in getproxies_environment().items() if value.strip()}
    # Apart by white space, too, as curl has it.
    made = {
        name: ",".join(map(_suffix, value.replace(",", " ").split())) for name, value in found.items() if name == "no"
    }
    for name in found.keys() & {"http", "https"}:
        made[name] = found[name] if "://" in found[name] else f"http://{found[name]}"
    return made


def _is_address(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _suffix(excepted: str) -> str:
    """A domain with all below it, as it is written for many a client."""
    return excepted[1:] if excepted.startswith("*.") else excepted


def _is_excepted(netloc: str, proxies: Mapping[str, str]) -> bool:
    """Whether a host is reached without a proxy."""
    host = urlsplit(f"//{netloc}").hostname or ""
    if _SERVICE.fullmatch(host) or proxy_bypass(netloc, dict(proxies)):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(proxies.get("no", "")))


def _networks(excepted: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for one in excepted.split(","):
        try:
            found.append(ipaddress.ip_network(one.strip(), strict=False))
        except ValueError:
            continue
    return found


def _next(url: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        found = urljoin(url, location)
        is_address = bool(urlsplit(found).hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise LocationValueError
    return found


def _server(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
