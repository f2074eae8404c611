"""A namespace's keys as a reconcile sees them; those that the Secret lacks are drawn here.

Versions and router are reconciled apart, and whoever comes first makes the Secret. So what was drawn is kept until it
is there, and both mean the same keys; of a key that somebody deletes later, another is drawn.
"""

import secrets

from anneal_operator.cluster.reading import Reader
from anneal_operator.desired.keys import KEYS, KeyRing, Keys, ring_of

from .context import Context

__all__ = ["admin_key", "key_ring"]

_BYTES = 32


async def key_ring(context: Context, reader: Reader, namespace: str) -> KeyRing:
    """Return the namespace's keys, and what its Secret has of them."""
    drawn = context.drawn_keys.setdefault(namespace, Keys(_draw(), _draw(), _draw(), _draw()))
    ring = ring_of(await reader.get("Secret", namespace, KEYS), drawn)
    if ring.is_kept:
        context.drawn_keys.pop(namespace, None)
    return ring


async def admin_key(reader: Reader, namespace: str) -> str:
    """Return the key that routers and recorders demand of the operator; empty while there is none."""
    nothing = Keys("", "", "", "")
    return ring_of(await reader.get("Secret", namespace, KEYS), nothing).keys.admin


def _draw() -> str:
    return secrets.token_urlsafe(_BYTES)
