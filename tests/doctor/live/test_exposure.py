"""What a server lets in: what the live checks find."""

import httpx
import pytest

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.live.exposure import ADMIN_ROUTE
from sgl_embed_kit.doctor.live.subject import REFUSES_GENERATION
from sgl_embed_kit.guard.generation import REASON
from tests.doctor.live.cases import Case
from tests.doctor.live.fakes import KEY, FakeSglang, find, refusal

ABROAD = "http://embeddings.example:30000"
LOCKED = FakeSglang(key=KEY)


def without_admin_route(openapi: httpx.Response) -> FakeSglang:
    return FakeSglang(routes={ADMIN_ROUTE: refusal(404), "/openapi.json": openapi})


CASES: list[Case] = [
    ("SGE-LIVE-011", {}, Status.OK, "the guard 1.2.3 refuses to generate"),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(routes={"/livez": refusal(404)})},
        Status.OK,
        "the guard refuses to generate",
    ),
    ("SGE-LIVE-011", {"server": FakeSglang(guarded=False)}, Status.WARN, "/generate is open (405)"),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(guarded=False), "profile": {}},
        Status.ERROR,
        "there is no guard",
    ),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(guarded=False), "profile": {"guard": {"enabled": False}}},
        Status.WARN,
        "there is no guard",
    ),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(routes={"/generate": refusal(404)})},
        Status.OK,
        "closed (404) by what is before",
    ),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(routes={"/generate": refusal(400, "other words")})},
        Status.SKIP,
        "answered with 400",
    ),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(info={"is_generation": True}, guarded=False)},
        Status.SKIP,
        "generates text",
    ),
    (
        "SGE-LIVE-011",
        {"server": FakeSglang(routes={"/model_info": refusal(404)})},
        Status.OK,
        "the guard 1.2.3 refuses",
    ),
    ("SGE-LIVE-012", {}, Status.INFO, "open to whoever reaches the port"),
    ("SGE-LIVE-012", {"url": ABROAD}, Status.WARN, "open to whoever reaches the port"),
    ("SGE-LIVE-012", {"server": LOCKED, "key": KEY}, Status.INFO, "whoever has the key"),
    ("SGE-LIVE-012", {"server": LOCKED}, Status.OK, "closed (401)"),
    (
        "SGE-LIVE-012",
        {"server": FakeSglang(key=KEY, admin_key="other"), "key": KEY},
        Status.OK,
        "closed (401)",
    ),
    ("SGE-LIVE-012", {"server": FakeSglang(admin_key="other")}, Status.OK, "closed (401)"),
    (
        "SGE-LIVE-012",
        {"server": FakeSglang(routes={ADMIN_ROUTE: refusal(403)})},
        Status.OK,
        "closed (403)",
    ),
    ("SGE-LIVE-012", {"server": without_admin_route(refusal(404))}, Status.OK, "no maintenance"),
    (
        "SGE-LIVE-012",
        {"server": without_admin_route(httpx.Response(200, json={"paths": {"/x": {}}}))},
        Status.OK,
        "no maintenance routes",
    ),
    (
        "SGE-LIVE-012",
        {"server": without_admin_route(httpx.Response(200, json={"paths": {"/flush_cache": {}}}))},
        Status.SKIP,
        "no maintenance route that only reads",
    ),
    (
        "SGE-LIVE-012",
        {"server": FakeSglang(routes={ADMIN_ROUTE: refusal(500)})},
        Status.SKIP,
        "answered with 500",
    ),
    ("SGE-LIVE-013", {}, Status.INFO, "with credentials"),
    ("SGE-LIVE-013", {"server": FakeSglang(cors="*")}, Status.INFO, "(CORS: *)"),
    ("SGE-LIVE-013", {"url": ABROAD}, Status.WARN, "any web page may call the server"),
    (
        "SGE-LIVE-013",
        {"url": ABROAD, "server": LOCKED, "key": KEY},
        Status.INFO,
        "any web page may call the server",
    ),
    ("SGE-LIVE-013", {"server": FakeSglang(cors=None)}, Status.OK, "no foreign web page"),
    (
        "SGE-LIVE-013",
        {"server": FakeSglang(cors="https://app.example")},
        Status.OK,
        "only web pages of https://app.example",
    ),
    (
        "SGE-LIVE-013",
        {
            "server": FakeSglang(
                cors=None,
                routes={"/v1/models": lambda r: refusal(500 if "origin" in r.headers else 404)},
            )
        },
        Status.SKIP,
        "answered with 500",
    ),
]


def test_the_guards_refusal_is_known_by_its_beginning() -> None:
    assert REASON.startswith(REFUSES_GENERATION)


@pytest.mark.parametrize("check", ["SGE-LIVE-011", "SGE-LIVE-012", "SGE-LIVE-013"])
def test_nothing_but_get_is_used(check: str) -> None:
    server = FakeSglang(key=KEY)
    find(check, server, key=KEY)
    assert {request.method for request in server.requests} == {"GET"}
