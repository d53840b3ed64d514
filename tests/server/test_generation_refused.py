"""Generation requests get a 400 from a real server, and it goes on embedding.

Stock SGLang 0.5.23 dies of the first of them (exit status 137).
"""

from typing import Any

import httpx
import pytest

from sgl_embed_kit import EmbeddingClient
from sgl_embed_kit.guard.generation import GENERATION_ROUTES, REASON
from sgl_embed_kit.launch.events import Ready

pytestmark = pytest.mark.server

CHAT: dict[str, Any] = {
    "model": "tiny-qwen3-embedding",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 4,
}
REQUESTS = [
    ("/generate", {"text": "Hello", "sampling_params": {"max_new_tokens": 4}}),
    ("/generate", {"input_ids": [1, 2, 3], "stream": True}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/completions", {"model": "m", "prompt": "Hello", "stream": True}),
    ("/v1/messages", CHAT),
    ("/v1/responses", {"model": "m", "input": "Hello", "stream": True}),
    ("/api/chat", CHAT),
    ("/api/generate", {"model": "m", "prompt": "Hello"}),  # streams unless told not to
    ("/invocations", CHAT),
    ("/vertex_generate", {"instances": [{"text": "Hello"}]}),
]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_it_gets_a_400_with_a_sentence(tiny_qwen: Ready, path: str, body: dict[str, Any]) -> None:
    response = httpx.post(f"{tiny_qwen.url}{path}", json=body, timeout=30)
    assert response.status_code == 400
    assert response.json()["message"] == REASON
    with EmbeddingClient(tiny_qwen.url) as client:
        assert client.embed_documents(["still here"]).shape == (1, 128)


def test_a_websocket_to_a_generating_route_is_refused(tiny_qwen: Ready) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    response = httpx.get(f"{tiny_qwen.url}/v1/realtime", headers=headers, timeout=30)
    # 400 where uvicorn has no websocket library, as with stock SGLang; 403 where it has.
    assert response.status_code in {400, 403}


def test_the_list_of_generating_routes_is_the_servers_own(tiny_qwen: Ready) -> None:
    paths = httpx.get(f"{tiny_qwen.url}/openapi.json", timeout=30).json()["paths"]
    not_in_the_schema = {"/v1/realtime"}  # a websocket
    assert GENERATION_ROUTES - not_in_the_schema <= set(paths)
