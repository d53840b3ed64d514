"""A server that answers as SGLang does, or wrongly in the way that a test wants; no sockets."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from sgl_embed_kit.doctor.engine import Finding
from sgl_embed_kit.doctor.live import LIVE_CHECKS
from sgl_embed_kit.doctor.live.server import LiveServer, server_url
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.guard.generation import REASON
from sgl_embed_kit.profile import Profile

KEY = "k3y.of-the_users"
BY_ID = {check.id: check for check in LIVE_CHECKS}
END = 7
"""Id of the token that the fake tokenizer puts at the end."""
OPEN = ("/health", "/livez")
"""Routes that ask for no key."""
Answer = httpx.Response | Callable[[httpx.Request], httpx.Response]


def refusal(status: int, message: str = "") -> httpx.Response:
    return httpx.Response(status, json={"message": message})


@dataclass
class Stream:
    """A connection: its own end, and its certificate."""

    local: object = ("127.0.0.1", 50000)
    certificate: dict[str, str] | None = None

    def get_extra_info(self, name: str) -> Any:
        if name == "client_addr":
            return self.local
        return self if self.certificate is not None else None

    def getpeercert(self) -> Any:
        return self.certificate


@dataclass
class FakeSglang:
    """A guarded embedding server of SGLang 0.5.23, unless told otherwise.

    Attributes:
        key: What it asks for, or None.
        admin_key: What its maintenance routes ask for, or None.
        guarded: Whether the guard answers.
        info: Changes of /model_info.
        server: Changes of /server_info.
        card: Changes of the model in /v1/models.
        routes: Answers in place of its own, by path or by method and path.
        vector: Makes the vector of a text, given how many times it was asked for it and how
            many texts came with it.
        ends: What the tokenizer puts at the end of a text.
        streams: The connections that requests come over, one after the other.
        cors: The origin that it allows; "echo" allows all.
        dies_of: A path after whose first request nothing answers any more.
        health_seconds: How long /health takes.
    """

    key: str | None = None
    admin_key: str | None = None
    guarded: bool = True
    info: dict[str, Any] = field(default_factory=dict)
    server: dict[str, Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    routes: dict[str, Answer] = field(default_factory=dict)
    vector: Callable[[str, int, int], np.ndarray[Any, Any]] | None = None
    ends: tuple[int, ...] = (END,)
    streams: tuple[Stream, ...] = (Stream(),)
    cors: str | None = "echo"
    dies_of: str | None = None
    health_seconds: float = 0.0
    requests: list[httpx.Request] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        paths = [seen.url.path for seen in self.requests]
        self.requests.append(request)
        if self.dies_of in paths:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        response = self._answer(request)
        if self.cors is not None and "origin" in request.headers:
            echo = self.cors == "echo"
            allowed = request.headers["origin"] if echo else self.cors
            response.headers["access-control-allow-origin"] = allowed
            response.headers["access-control-allow-credentials"] = "true" if echo else "false"
        stream = self.streams[min(len(self.requests), len(self.streams)) - 1]
        response.extensions["network_stream"] = stream
        return response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path, method = request.url.path, request.method
        own = self.routes.get(f"{method} {path}", self.routes.get(path))
        if own is not None:
            if isinstance(own, httpx.Response):
                return httpx.Response(own.status_code, content=own.content, headers=own.headers)
            return own(request)
        bearer = request.headers.get("authorization", "")
        wanted = self.key
        if path.startswith("/hicache"):
            wanted = self.admin_key or self.key
        if wanted is not None and bearer != f"Bearer {wanted}" and path not in OPEN:
            return httpx.Response(401, json={"error": "Unauthorized"})
        if path == "/generate" and self.guarded:
            return refusal(400, REASON)
        if path == "/livez" and self.guarded:
            life = {"status": "alive", "guard": "1.2.3", "launch_id": None}
            return httpx.Response(200, json=life)
        if method == "GET":
            return self._read(path)
        content = json.loads(request.content)
        if path == "/v1/embeddings":
            return self._embed(content)
        if path == "/v1/tokenize":
            end = self.ends if content.get("add_special_tokens", True) else ()
            words = content["prompt"].split()
            tokens = [100 + len(word) for word in words] + list(end)
            return httpx.Response(200, json={"tokens": tokens, "count": len(tokens)})
        if path == "/v1/detokenize":
            return httpx.Response(200, json={"text": "<|endoftext|>"})
        return refusal(404)

    def _read(self, path: str) -> httpx.Response:
        if path == "/health":
            time.sleep(self.health_seconds)
            return httpx.Response(200)
        contents: dict[str, Any] = {
            "/v1/models": {
                "data": [{"id": "fake", "root": "fake", "max_model_len": 64, **self.card}]
            },
            "/model_info": {
                "is_generation": False,
                "architectures": ["Qwen3ForCausalLM"],
                "model_path": "/models/fake",
                **self.info,
            },
            "/server_info": {"version": "0.5.23", "max_total_num_tokens": 128, **self.server},
            "/openapi.json": {"paths": {"/flush_cache": {}}},
        }
        if path in contents:
            return httpx.Response(200, json=contents[path])
        if path.startswith("/hicache"):
            return httpx.Response(200 if self.admin_key else 400, json={"error": "no admin key"})
        return refusal(405 if path == "/generate" else 404)

    def _embed(self, content: dict[str, Any]) -> httpx.Response:
        texts = content["input"]
        longest = max(len(text.split()) + 1 for text in texts)
        if longest >= 64 and not self.server.get("allow_auto_truncate"):
            return refusal(400, f"The input ({longest} tokens) is longer")
        data = []
        for index, text in enumerate(texts):
            self.asked[text] = self.asked.get(text, 0) + 1
            make = self.vector or (lambda text, _times, _many: vector_of(text))
            vector = make(text, self.asked[text], len(texts)).astype("<f4")
            is_base64 = content["encoding_format"] == "base64"
            packed = base64.b64encode(vector.tobytes()).decode() if is_base64 else vector.tolist()
            data.append({"index": index, "embedding": packed})
        return httpx.Response(200, json={"data": data})


def vector_of(text: str, size: int = 8) -> np.ndarray[Any, Any]:
    """Return a vector of length 1 that belongs to a text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).normal(size=size)
    return np.asarray(vector / np.linalg.norm(vector))


def subject_of(
    server: Callable[[httpx.Request], httpx.Response],
    *,
    url: str = "http://127.0.0.1:30000",
    key: str | None = None,
    profile: dict[str, Any] | None = None,
    **options: Any,
) -> LiveSubject:
    """Return the subject of a fake server; a profile is for the fake one, with these changes."""
    transport = httpx.MockTransport(server)
    described = None
    if profile is not None:
        content = {"model": {"path": "tiny:", "served_name": "fake"}, **profile}
        described = Profile.model_validate(content)
    live = LiveServer(server_url(url), key, transport=transport)
    return LiveSubject(live, profile=described, idle_seconds=0, **options)


def find(check: str, server: FakeSglang | None = None, **options: Any) -> Finding:
    """Run one live check against a fake server."""
    return BY_ID[check].look(subject_of(server or FakeSglang(), **options))
