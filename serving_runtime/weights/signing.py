"""Addresses of S3 that are signed for a while (Signature Version 4, in the query): a request for a range needs no more.

Written out, as no S3 client is among what the server's image has, and reading a file needs nothing else of one.
"""

import hashlib
import hmac
from datetime import datetime
from urllib.parse import quote, urlsplit

__all__ = ["presigned"]

_ALGORITHM = "AWS4-HMAC-SHA256"


def presigned(
    url: str, key_id: str, secret: str, region: str, now: datetime, *, token: str = "", seconds: int = 3600
) -> str:
    """Return an address under which whoever has it may GET an object, from now (in UTC) on."""
    parts, day, moment = urlsplit(url), now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{day}/{region}/s3/aws4_request"
    told = {
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{key_id}/{scope}",
        "X-Amz-Date": moment,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
        **({"X-Amz-Security-Token": token} if token else {}),
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(told.items()))
    request = "\n".join(("GET", parts.path, query, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD"))
    signed = "\n".join((_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = _mac(key, part)
    return f"{url}?{query}&X-Amz-Signature={_mac(key, signed).hex()}"


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
