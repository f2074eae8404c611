"""What the kubelet and Prometheus ask: `GET /healthz`, `GET /readyz`, `GET /metrics`."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["status_app"]


def status_app(ready: Callable[[], bool]) -> web.Application:
    """Return the application; `ready` says whether this operator leads and watches.

    `/healthz` answers as long as the event loop turns; one that waits for the lease is healthy, and not ready.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="alive")

    async def readyz(_: web.Request) -> web.Response:
        return (
            web.Response(text="ready") if ready() else web.Response(text="not leading, or not watching yet", status=503)
        )

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app
