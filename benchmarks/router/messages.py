"""What is asked, over HTTP as it goes through a socket, and what is answered."""

import itertools
import json
import re
import socket
from collections.abc import Iterator

__all__ = ["LARGE_BYTES", "chats", "connected", "is_whole", "large_body", "question", "status"]

USERS = 1000
LARGE_BYTES = 8_000_000
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_SYSTEM = "You sort the mail of a motorway company. Answer with the department that a mail is for, and nothing else."
_USER = "The barrier at the north exit took my card twice this morning and did not open."


def question(user: str, *, streams: bool = False) -> bytes:
    """Return the body of a chat, about 350 bytes."""
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    chat = {"model": "bench", "messages": messages, "max_tokens": 64, "user": user}
    return json.dumps(chat | ({"stream": True} if streams else {}), separators=(",", ":")).encode()


def large_body() -> bytes:
    """Return the body of a chat that is as long as an image makes it."""
    short = question("user-0")
    return short.replace(b"The barrier", b"x" * (LARGE_BYTES - len(short)) + b"The barrier")


def chats(*, streams: bool = False) -> Iterator[bytes]:
    """Yield requests of 1,000 users in turn, without an end."""
    made = [_request(f"user-{number}", streams=streams) for number in range(1, USERS + 1)]
    return itertools.cycle(made)


def _request(user: str, *, streams: bool) -> bytes:
    body = question(user, streams=streams)
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"X-User-Id: {user}", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def connected(port: int) -> socket.socket:
    """Return a client's connection, on which nothing waits to be sent."""
    made = socket.create_connection(("127.0.0.1", port), timeout=30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def is_whole(answer: bytes) -> bool:
    """Whether all of an answer has come, be its length told or be it in pieces."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = _LENGTH.search(head + b"\r\n")
    return len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")


def status(answer: bytes) -> int:
    """Return the status of an answer whose first line has come."""
    return int(answer.split(b" ", 2)[1])
