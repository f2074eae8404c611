"""What the operator, the runtimes and a router's small processes agree upon.

Beside plan.py, which has it too, because that brings pydantic: more than the rest of such a process takes at rest.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "ADMIN_KEY_VARIABLE",
    "AUTHORITIES_VARIABLE",
    "BACKEND_AUTHORITIES_FOLDER",
    "BACKEND_KEYS_FOLDER",
    "ENGINE_KEY_VARIABLE",
    "FORMAT",
    "PLAIN_FORMAT",
    "RECORDS_FOLDER",
    "TASKS_KEY_HEADER",
    "TASKS_KEY_VARIABLE",
    "USER_KEY_VARIABLE",
    "digest_of_target",
]

ENGINE_KEY_VARIABLE = "ANNEAL_ENGINE_KEY"
"""In the environment of engines and routers: what an engine demands of whoever asks it."""
ADMIN_KEY_VARIABLE = "ANNEAL_ADMIN_KEY"
"""In that of routers and recorders: what they demand of whoever asks what is not for clients."""
USER_KEY_VARIABLE = "ANNEAL_USER_KEY"
"""In that of routers: what users' names are hashed with, the same for all experiments of a namespace."""
TASKS_KEY_VARIABLE = "ANNEAL_TASKS_KEY"
"""In that of routers and of the task API: by which a router knows what is part of an answer of that."""
TASKS_KEY_HEADER = "X-Anneal-Tasks"
"""Where it is sent, beside whatever else a client is known by."""
AUTHORITIES_VARIABLE = "ANNEAL_AUTHORITIES"
"""In that of routers and of what downloads weights: a file of certificate authorities, to trust beside public ones."""
FORMAT, PLAIN_FORMAT = 2, 1
"""Of the route table. It rises when a router that ignores what it does not know would send somebody elsewhere; a router
refuses every other, and goes on with the last table that it knew. The first has one experiment per model, for all
users, whom headers name: such a table is still written in it, so routers of an earlier build read it; and still read.
"""
RECORDS_FOLDER = "/shared/records"
"""Where a router's processes leave what they recorded for the one that ships it; `router.conf` cannot but repeat it."""
BACKEND_KEYS_FOLDER = "/etc/anneal/backend-keys"
"""In routers' pods, the keys of backends; `router.conf` says so, too."""
BACKEND_AUTHORITIES_FOLDER = "/etc/anneal/backend-authorities"
"""There, who vouches for the certificates of single backends."""


def digest_of_target(target: Mapping[str, Any]) -> str:
    """Return by which a router says what it asked of a backend: another of the same name has another."""
    return hashlib.sha256(json.dumps(target, sort_keys=True).encode()).hexdigest()[:16]
