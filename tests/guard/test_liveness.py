"""The guard's proof of life, without a server."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from sgl_embed_kit.guard import liveness
from sgl_embed_kit.guard.liveness import LAUNCH_ID, Liveness, put_outermost
from sgl_embed_kit.launch import readiness, server
from sgl_embed_kit.sglang.installed import GUARD_PLUGIN


def _asked(path: str, **scope: Any) -> list[dict[str, Any]]:
    """Return the messages that the middleware sends; "passed on" where the app was called."""
    sent: list[dict[str, Any]] = []

    async def app(_scope: object, _receive: object, _send: object) -> None:
        sent.append({"type": "passed on"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": path, **scope}
    asyncio.run(Liveness(app)(asked, receive, send))
    return sent


def test_it_names_its_version_and_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAUNCH_ID, "0123abcd")
    start, body = _asked("/livez")
    assert start["status"] == 200
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()
    assert json.loads(body["body"]) == {
        "status": "alive",
        "guard": metadata.version("sgl-embed-kit"),
        "launch_id": "0123abcd",
    }


@pytest.mark.parametrize("value", [None, ""])
def test_a_server_that_nobody_launched_has_no_launch_id(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(LAUNCH_ID, raising=False)
    if value is not None:
        monkeypatch.setenv(LAUNCH_ID, value)
    assert json.loads(_asked("/livez")[1]["body"])["launch_id"] is None


def test_a_head_request_gets_no_body() -> None:
    assert _asked("/livez", method="HEAD")[1]["body"] == b""


@pytest.mark.parametrize(
    "scope",
    [
        {"path": "/livez", "method": "POST"},
        {"path": "/livez/"},
        {"path": "/v1/livez"},
        {"path": "/"},
        {"path": "/livez", "type": "websocket"},
        {"path": "/x/livez", "root_path": "/y"},
    ],
)
def test_all_else_is_passed_on(scope: dict[str, Any]) -> None:
    path = scope.pop("path")
    assert _asked(path, **scope) == [{"type": "passed on"}]


def test_a_lifespan_is_passed_on() -> None:
    async def app(scope: dict[str, Any], _receive: object, _send: object) -> None:
        assert scope == {"type": "lifespan"}

    asyncio.run(Liveness(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]


def test_a_path_before_all_routes_is_taken_off() -> None:
    assert _asked("/x/livez", root_path="/x")[0]["status"] == 200


def test_it_lies_around_middleware_that_is_added_later() -> None:
    stack = ["app"]
    app = SimpleNamespace(build_middleware_stack=lambda: " in ".join(stack))
    put_outermost(app)
    stack.append("key check")
    built = app.build_middleware_stack()
    assert isinstance(built, Liveness)
    assert built.app == "app in key check"  # type: ignore[comparison-overlap]


def test_an_application_of_another_kind_costs_the_proof_and_not_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = SimpleNamespace(app=object())
    for name in ("sglang", "sglang.srt", "sglang.srt.entrypoints"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setitem(sys.modules, "sglang.srt.entrypoints.http_server", module)
    with caplog.at_level(logging.ERROR):
        liveness._open_the_route()
    assert "sgl-embed guard: /livez cannot be answered" in caplog.text


def test_the_launcher_knows_the_guard_by_the_same_names() -> None:
    assert (server.LAUNCH_ID, readiness.LIVEZ) == (LAUNCH_ID, liveness.PATH)
    assert readiness.PACKAGE == liveness.PACKAGE
    (entry,) = metadata.entry_points(group="sglang.srt.plugins", name=GUARD_PLUGIN)
    assert entry.dist is not None
    assert entry.dist.name == liveness.PACKAGE
