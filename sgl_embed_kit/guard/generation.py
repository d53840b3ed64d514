"""Generation requests get a 400. Stock SGLang dies of one on an embedding server.

Two lines of defence. The routes are closed in an ASGI middleware, because a streaming
route sends its headers before the tokenizer manager could refuse. The tokenizer manager
refuses too, so that no other route brings a generation request to the scheduler.
"""

from __future__ import annotations

import json
import os
from typing import Any

from sgl_embed_kit.guard.asgi import App, Receive, Scope, Send

REASON = (
    "This server only makes embeddings: it cannot generate text. "
    "Send your texts to POST /v1/embeddings."
)

GENERATION_ROUTES = frozenset(
    {
        "/generate",
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/decisions",
        "/v1/systemone",
        "/v1/realtime",
        "/v1/audio/transcriptions",
        "/invocations",
        os.environ.get("SGLANG_OLLAMA_CHAT_ROUTE", "/api/chat"),
        os.environ.get("SGLANG_OLLAMA_GENERATE_ROUTE", "/api/generate"),
        os.environ.get("AIP_PREDICT_ROUTE", "/vertex_generate"),
    }
)
"""The generating routes of SGLang 0.5.23 (srt/entrypoints/http_server.py)."""


def register() -> None:
    """Hook the start of the HTTP server and the door of the tokenizer manager."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    HookRegistry.register(
        "sglang.srt.entrypoints.http_server._setup_and_run_http_server",
        _close_generation_routes,
        HookType.BEFORE,
    )
    HookRegistry.register(
        "sglang.srt.managers.tokenizer_manager.TokenizerManager.generate_request",
        _refuse_generation,
        HookType.BEFORE,
    )


def _close_generation_routes(*_args: object, **_kwargs: object) -> None:
    """Put the middleware inside SGLang's API key check, which is added after it."""
    from sglang.srt.entrypoints.http_server import app
    from sglang.srt.runtime_context import get_model

    if get_model().is_embedding:
        app.add_middleware(EmbeddingsOnly)


def _refuse_generation(manager: Any, request: Any, *_args: object, **_kwargs: object) -> None:
    from sglang.srt.managers.io_struct import GenerateReqInput

    if not manager.is_generation and isinstance(request, GenerateReqInput):
        raise ValueError(REASON)


class EmbeddingsOnly:
    """Pure-ASGI middleware that answers generating routes itself, with a 400."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but requests and websockets to a generating route."""
        kind = scope["type"]
        if kind not in {"http", "websocket"} or scope["path"].rstrip("/") not in GENERATION_ROUTES:
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": REASON})
        else:
            await _answer_400(send)


async def _answer_400(send: Send) -> None:
    # The flat shape that SGLang's own /v1/embeddings errors have.
    body = json.dumps(
        {
            "object": "error",
            "message": REASON,
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        }
    ).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
