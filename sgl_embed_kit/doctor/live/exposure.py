"""Live checks of what a server lets in: generation, maintenance, foreign web pages."""

from __future__ import annotations

from contextlib import suppress

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import LiveError, Routes, quoted
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.profile.patch import patch

ADMIN_ROUTE = "/hicache/storage-backend"
"""A maintenance route of which a GET only reads settings; it has the same door as those
that pause the server or change its weights (AuthLevel.ADMIN_OPTIONAL, srt/utils/auth.py)."""
MAINTENANCE = "maintenance routes such as /pause_generation"
ADMIN_KEY = patch(server={"admin_api_key_env": "SGL_EMBED_ADMIN_API_KEY"})
PAGE = "https://a-web-page.example"


def guard(subject: LiveSubject) -> Finding:
    """Look whether the guard answers in the place of the generating routes."""
    with suppress(LiveError):
        if subject.info.is_generation:
            return Finding(Status.SKIP, "the server generates text")
    guarded = subject.has_guard
    if guarded:
        name = " ".join(filter(None, ["the guard", subject.guard_version]))
        return Finding(Status.OK, f"{name} refuses to generate")
    status = subject.server.get("/generate").status
    if guarded is None:
        if status in {403, 404}:
            return Finding(
                Status.OK, f"/generate is closed ({status}) by what is before the server"
            )
        return Finding(Status.SKIP, f"GET /generate is answered with {status}")
    wanted = subject.profile is not None and subject.profile.guard.enabled
    return Finding(
        Status.ERROR if wanted else Status.WARN,
        f"/generate is open ({status}) and there is no guard: one chat request ends the server",
        "the guard, or a gateway that lets only /v1/embeddings through",
        "sgl-embed launch PROFILE  # starts it with the guard",
    )


def routes(subject: LiveSubject) -> Finding:
    """Look who may use the routes that pause the server or change its weights."""
    server = subject.server
    bare = server.ask("GET", ADMIN_ROUTE, with_key=False).status
    if bare == 404:  # noqa: PLR2004
        return _without_the_route(subject)
    if bare in {401, 403}:
        if server.has_key and server.get(ADMIN_ROUTE).status not in {401, 403}:
            return Finding(
                Status.INFO,
                f"whoever has the key may use {MAINTENANCE}",
                "a key of its own",
                ADMIN_KEY,
            )
        return Finding(Status.OK, f"{MAINTENANCE} are closed ({bare})")
    if bare >= 500:  # noqa: PLR2004
        return Finding(Status.SKIP, f"GET {ADMIN_ROUTE} is answered with {bare}")
    return Finding(
        Status.INFO if server.is_loopback else Status.WARN,
        f"{MAINTENANCE} are open to whoever reaches the port",
        "a key for them",
        ADMIN_KEY,
    )


def _without_the_route(subject: LiveSubject) -> Finding:
    try:
        paths = subject.server.get("/openapi.json").read(Routes).paths
    except LiveError:
        return Finding(Status.OK, "no maintenance route answers")
    if "/flush_cache" in paths:
        return Finding(Status.SKIP, "this release has no maintenance route that only reads")
    return Finding(Status.OK, "the server has no maintenance routes")


def origins(subject: LiveSubject) -> Finding:
    """Look whether any web page may read what the server answers."""
    server = subject.server
    answer = server.ask("GET", "/v1/models", headers={"Origin": PAGE})
    allowed = answer.headers.get("access-control-allow-origin")
    if allowed is None:
        if answer.status >= 500:  # noqa: PLR2004
            return Finding(Status.SKIP, f"GET /v1/models is answered with {answer.status}")
        return Finding(Status.OK, "no foreign web page may read the answers")
    if allowed not in {"*", PAGE}:
        return Finding(Status.OK, f"only web pages of {quoted(allowed)} may read the answers")
    with_cookies = answer.headers.get("access-control-allow-credentials") == "true"
    found = f"any web page may call the server from a visitor's browser (CORS: {allowed}"
    is_open = server.ask("GET", "/v1/models", with_key=False).status == 200  # noqa: PLR2004
    return Finding(
        Status.WARN if is_open and not server.is_loopback else Status.INFO,
        f"{found}, with credentials)" if with_cookies else f"{found})",
        "a key, which a web page does not have; or a gateway that leaves that header out",
        patch(server={"api_key_env": "SGL_EMBED_API_KEY"}),
    )
