"""What the kubelet and Prometheus ask: `GET /healthz`, `GET /readyz`, `GET /metrics`."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["status_app"]


def status_app(standing: Callable[[], str | None]) -> web.Application:
    """Return the application; `standing` says as what this operator is ready, None where it is not.

    `/healthz` answers as long as the event loop turns.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="alive")

    async def readyz(_: web.Request) -> web.Response:
        if ready := standing():
            return web.Response(text=f"ready: {ready}")
        return web.Response(text="not ready: neither leading and watching, nor waiting for another's lease", status=503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app
