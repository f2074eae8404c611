"""Certificate authorities of the installation's own, by which backends' certificates may be, beside the public ones.

Read once, as a container of the router starts: nginx reads its own once, and who looks at backends has to find what it
finds. Routers are there for more than backends: what cannot be read is told, and keeps none from starting.
"""

import logging
import os
import ssl
import tempfile
from pathlib import Path

from serving_runtime.terms import AUTHORITIES_VARIABLE

__all__ = ["PUBLIC", "configuration", "own_authorities", "trusting"]

PUBLIC = "/etc/ssl/certs/ca-certificates.crt"
"""Whom everybody trusts; `router.conf` says so, too."""
log = logging.getLogger("router")


def own_authorities() -> str:
    """Return them as PEM; nothing where there are none."""
    path = os.environ.get(AUTHORITIES_VARIABLE, "")
    if not path:
        return ""
    try:
        text = Path(path).read_text()
        ssl.create_default_context().load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, FileNotFoundError) else "it holds no certificates as PEM"
        log.warning("%s of the ConfigMap that the chart's `server.authorities` names: %s", Path(path).name, why)
        return ""
    return text


def trusting(own: str) -> ssl.SSLContext:
    """Return how a backend is asked over TLS: as nginx does it, which takes certificates whose issuer left out an
    extension, as many a company's own did.
    """
    context = ssl.create_default_context()
    if own:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=own)
    return context


def configuration(ours: Path, own: str) -> Path:
    """Return nginx's configuration: ours, and where there are authorities of one's own, the same with these."""
    if not own:
        return ours
    folder = Path(tempfile.mkdtemp())
    trusted, made = folder / "trusted.pem", folder / ours.name
    trusted.write_text(f"{Path(PUBLIC).read_text()}\n{own}")
    made.write_text(ours.read_text().replace(PUBLIC, str(trusted)))
    return made
