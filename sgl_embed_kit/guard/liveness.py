"""The guard's proof of life: `/livez` says that it runs, in which version, for which launch."""

from __future__ import annotations

import json
import logging
import os
from importlib import metadata
from typing import Any

from sgl_embed_kit.guard.asgi import App, Receive, Scope, Send

logger = logging.getLogger(__name__)

PACKAGE = "sgl-embed-kit"
"""The distribution whose metadata has the entry point that SGLang found the guard by."""
PATH = "/livez"
LAUNCH_ID = "SGL_EMBED_LAUNCH_ID"
"""Environment variable with what the launcher knows this very server by."""


def register() -> None:
    """Hook the start of the HTTP server."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    HookRegistry.register(
        "sglang.srt.entrypoints.http_server._setup_and_run_http_server",
        _open_the_route,
        HookType.BEFORE,
    )


def _open_the_route(*_args: object, **_kwargs: object) -> None:
    from sglang.srt.entrypoints.http_server import app

    try:
        put_outermost(app)
    except Exception:  # the server is worth more than its proof, which the launcher will miss
        logger.exception("sgl-embed guard: %s cannot be answered", PATH)


def put_outermost(app: Any) -> None:
    """Put `Liveness` around a Starlette application and all its middleware, whenever added.

    SGLang adds its check of the API key after this hook, which by `add_middleware` would
    lie outside: but a probe has no key. The stack is built at the first request
    (`build_middleware_stack` in starlette/applications.py).
    """
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: Liveness(build())


class Liveness:
    """Pure-ASGI middleware that answers `/livez` itself.

    Whoever gets the answer knows that the event loop turns, and that the guard was loaded
    into this process.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        life = {
            "status": "alive",
            "guard": metadata.version(PACKAGE),
            "launch_id": os.environ.get(LAUNCH_ID) or None,
        }
        self._body = json.dumps(life).encode()
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._body)).encode()),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but GET and HEAD of the route."""
        if scope["type"] != "http" or not _asks_for_life(scope):
            await self.app(scope, receive, send)
            return
        body = b"" if scope["method"] == "HEAD" else self._body
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": body})


def _asks_for_life(scope: Scope) -> bool:
    """Say whether a request is for the route; `--fastapi-root-path` stands before it."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path == PATH and scope["method"] in {"GET", "HEAD"}
