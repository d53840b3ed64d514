"""The middleware that answers generating routes, without a server."""

import asyncio
import json
from typing import Any

import pytest

from sgl_embed_kit.guard.generation import GENERATION_ROUTES, REASON, EmbeddingsOnly


def _asked(path: str, kind: str = "http") -> list[dict[str, Any]]:
    """Return the messages that the middleware sends; "passed on" where the app was called."""
    sent: list[dict[str, Any]] = []

    async def app(_scope: object, _receive: object, _send: object) -> None:
        sent.append({"type": "passed on"})

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(EmbeddingsOnly(app)({"type": kind, "path": path}, receive, send))
    return sent


@pytest.mark.parametrize("path", sorted(GENERATION_ROUTES))
def test_a_generating_route_is_answered_with_400_and_a_sentence(path: str) -> None:
    start, body = _asked(path)
    assert start["status"] == 400
    assert json.loads(body["body"])["message"] == REASON
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/health", "/", "/generated"])
def test_other_routes_are_passed_on(path: str) -> None:
    assert _asked(path) == [{"type": "passed on"}]


def test_a_slash_at_the_end_does_not_open_a_route() -> None:
    assert _asked("/generate/")[0]["status"] == 400


def test_a_websocket_to_a_generating_route_is_closed_before_it_is_accepted() -> None:
    assert [message["type"] for message in _asked("/v1/realtime", "websocket")] == [
        "websocket.close"
    ]


def test_the_lifespan_is_passed_on() -> None:
    async def app(scope: dict[str, Any], _receive: object, _send: object) -> None:
        assert scope == {"type": "lifespan"}

    asyncio.run(EmbeddingsOnly(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
