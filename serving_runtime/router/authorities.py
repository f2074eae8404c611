"""Certificate authorities by which backends' certificates may be: the installation's own, beside the public ones, and
of single backends their own alone.

Read once, as a container of the router starts: nginx reads its own once, and who looks at backends has to find what it
finds. Routers are there for more than backends: what cannot be read is told, and keeps none from starting.
"""

import base64
import logging
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path

from serving_runtime.terms import AUTHORITIES_VARIABLE, BACKEND_AUTHORITIES_FOLDER

__all__ = [
    "PUBLIC",
    "configuration",
    "of_backends",
    "own_authorities",
    "trusting",
    "trusting_alone",
    "with_backends",
]

PUBLIC = "/etc/ssl/certs/ca-certificates.crt"
"""Whom everybody trusts; `router.conf` says so, too."""
_BEGINNING, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_ASKING, _NEXT, _BEGIN = "      proxy_pass $upstream;", "    location = /v1/models {", 'router = require "router"'
"""In `router.conf`: from where on it says how a backend is asked, what follows that, and where the router begins."""
log = logging.getLogger("router")


def own_authorities() -> str:
    """Return them as PEM; nothing where there are none."""
    path = os.environ.get(AUTHORITIES_VARIABLE, "")
    if not path:
        return ""
    return _certificates(Path(path), f"{Path(path).name} of the ConfigMap that the chart's `server.authorities` names")


def of_backends(folder: Path = Path(BACKEND_AUTHORITIES_FOLDER)) -> dict[str, str]:
    """Return those of single backends as PEM, by the file that the route table names; without what holds none."""
    files = {f"{path.parent.name}/{path.name}": path for path in sorted(folder.glob("*/*")) if path.is_file()}
    found = {name: _certificates(path, f"`backend.caCertificateRef` of {name}") for name, path in files.items()}
    return {name: text for name, text in found.items() if text}


def _certificates(path: Path, what: str) -> str:
    """Written anew: by a key or a list of what was revoked beside them that is broken nginx would not start."""
    try:
        found = [_decoded(part) for part in path.read_text(errors="replace").split(_BEGINNING)[1:]]
        ssl.create_default_context().load_verify_locations(cadata=b"".join(found))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, FileNotFoundError) else "it holds no certificates as PEM"
        log.warning("%s: %s", what, why)
        return ""
    return "".join(map(ssl.DER_cert_to_PEM_cert, found))


def _decoded(part: str) -> bytes:
    inner, end, _ = part.partition(_END)
    if not end:
        raise ValueError("it ends within a certificate")
    return base64.b64decode(inner)


def trusting(own: str) -> ssl.SSLContext:
    """Return how a backend is asked over TLS: as nginx does it, which takes certificates whose issuer left out an
    extension, as many a company's own did, and none of which it does not know the root.
    """
    context = ssl.create_default_context()
    context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
    if own:
        context.load_verify_locations(cadata=own)
    return context


def trusting_alone(authorities: str) -> ssl.SSLContext:
    """Return how a backend is asked that has authorities of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authorities)
    return context


def configuration(ours: Path, own: str, backends: Mapping[str, str]) -> Path:
    """Return nginx's configuration: ours, and where there are authorities of one's own, the same with these.

    nginx gets what was read here, and not the kubelet's files, which may have changed meanwhile.
    """
    if not own and not backends:
        return ours
    folder = Path(tempfile.mkdtemp())
    trusted, made = folder / "trusted.pem", folder / ours.name
    files = {name: folder / "backends" / f"{name}.pem" for name in backends}
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(backends[name])
    text = with_backends(ours.read_text(), {name: str(file) for name, file in files.items()})
    if own:
        trusted.write_text(f"{Path(PUBLIC).read_text()}\n{own}")
        text = text.replace(PUBLIC, str(trusted))
    made.write_text(text)
    return made


def with_backends(text: str, files: Mapping[str, str]) -> str:
    """Return a configuration in which backends are verified by files of their own.

    nginx has one list of authorities for each location, which no variable can name. So each such backend gets one of
    its own, called by its file, that asks as the one for all others does; the router hands requests on to it.
    """
    begin = text.index(_ASKING)
    asking = text[begin : text.index("\n    }\n", begin)]
    made = "".join(
        f"    location @{name} {{\n      access_by_lua_block {{ router.go_on() }}\n"
        f"      log_by_lua_block {{ router.record() }}\n{asking.replace(PUBLIC, file)}\n    }}\n\n"
        for name, file in sorted(files.items())
    )
    known = "".join(f'["{name}"] = true, ' for name in sorted(files))
    started = f"{_BEGIN}\n    router.trust({{ {known}}})"
    return text.replace(_NEXT, f"{made}{_NEXT}", 1).replace(_BEGIN, started, 1) if files else text
