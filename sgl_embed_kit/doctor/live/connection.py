"""Live checks of the way to the server: reach, TLS, key, health, idle connections."""

from __future__ import annotations

import ssl
import time
from http import HTTPStatus

import httpx

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import CLOSED, NO_ANSWER, READ_THE_LOG, LiveError
from sgl_embed_kit.doctor.live.server import RENEW, TlsError
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.profile.patch import patch

HEALTH_SECONDS = 22.0
"""Longer than SGLANG_HEALTH_CHECK_TIMEOUT, 20 s, after which SGLang itself says 503
(srt/entrypoints/http_server.py)."""
SLOW_HEALTH = 5.0
"""`/health` looks every second whether the scheduler has spoken; an idle one has at once."""
KUBERNETES_SECONDS = 1.0
"""`timeoutSeconds` of a Kubernetes probe, unless it is set."""
RENEW_DAYS = 14


def reach(subject: LiveSubject) -> Finding:
    """Look whether a server of embeddings answers at the address."""
    try:
        answer = subject.contact()
    except LiveError as error:
        return error.cured(f"curl -iv {subject.server.address}/v1/models")
    if answer.status in CLOSED:
        return Finding(
            Status.WARN,
            f"GET /v1/models is closed ({answer.status})",
            "the list of models, by which clients know what is served",
            answer.shown_by,
        )
    return Finding(Status.OK, f"{subject.server.address} answers in {answer.seconds * 1000:.0f} ms")


def tls(subject: LiveSubject) -> Finding:
    """Look whether the connection is encrypted, and until when its certificate is valid."""
    server = subject.server
    try:
        answer = server.get("/v1/models")
    except TlsError as error:
        return error.finding
    except LiveError:
        return NO_ANSWER
    if server.url.scheme == "http":
        if server.is_loopback:
            return Finding(Status.OK, "plain HTTP, which does not leave this machine")
        carried = "texts and the key travel" if server.has_key else "texts travel"
        return Finding(
            Status.WARN if server.has_key else Status.INFO,
            f"plain HTTP: {carried} readable for all on the way",
            "https://",
            _tunnel(server.url),
        )
    ends = (answer.certificate or {}).get("notAfter")
    if not isinstance(ends, str):
        return Finding(Status.SKIP, "the certificate does not say when it ends")
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86400
    found = f"the certificate is valid for {days:.0f} more days"
    if days < RENEW_DAYS:
        return Finding(Status.WARN, found, f"{RENEW_DAYS} days", RENEW)
    return Finding(Status.OK, found)


def _tunnel(url: httpx.URL) -> str:
    """Return a way to a server without TLS on which nobody reads along."""
    port = url.port or 80
    return f"ssh -N -L {port}:127.0.0.1:{port} {url.host}  # then ask http://127.0.0.1:{port}"


def auth(subject: LiveSubject) -> Finding:
    """Look whether the server asks for a key, and takes the one that there is."""
    server, profile = subject.server, subject.profile
    bare = server.ask("GET", "/v1/models", with_key=False).status
    is_locked = bare == HTTPStatus.UNAUTHORIZED
    if not server.has_key:
        if is_locked:
            return Finding(
                Status.ERROR,
                "the server asks for a key, and there is none",
                "its key, in SGL_EMBED_API_KEY or where --api-key-env says",
                "export SGL_EMBED_API_KEY=…",
            )
        if server.is_loopback:
            return Finding(Status.OK, "no key is asked for, on this machine")
        return _open(Status.WARN)
    if server.get("/v1/models").status == HTTPStatus.UNAUTHORIZED:
        return Finding(
            Status.ERROR,
            "the server refuses the key (401)",
            "the key that it was started with",
            "export SGL_EMBED_API_KEY=…",
        )
    if is_locked:
        return Finding(Status.OK, "a request without the key gets 401, one with it is answered")
    if bare != HTTPStatus.OK:
        return Finding(Status.SKIP, f"without a key, GET /v1/models is answered with {bare}")
    asked = profile is not None and "api-key" in profile.server.keys
    return _open(Status.ERROR if asked else Status.WARN)


def _open(status: Status) -> Finding:
    return Finding(
        status,
        "a request without any key is answered: whoever reaches the port may embed",
        "a key",
        patch(server={"api_key_env": "SGL_EMBED_API_KEY"}),
    )


def health(subject: LiveSubject) -> Finding:
    """Look how long /health takes, and what it says."""
    answer = subject.server.ask("GET", "/health", seconds=HEALTH_SECONDS)
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and answer.seconds < KUBERNETES_SECONDS:
        # Said at once, it means that SGLang's own warm-up goes on, a second or two after the
        # first embedding can be had (health_generate in srt/entrypoints/http_server.py).
        time.sleep(subject.idle_seconds)
        answer = subject.server.ask("GET", "/health", seconds=HEALTH_SECONDS)
    if answer.status in CLOSED:
        return Finding(Status.SKIP, f"GET /health is closed ({answer.status})")
    took = f"/health says {answer.status} in {answer.seconds:.1f} s"
    if answer.status != HTTPStatus.OK:
        return Finding(
            Status.ERROR,
            f"{took}: it is starting, ending or stuck",
            "200",
            READ_THE_LOG,
        )
    if answer.seconds >= SLOW_HEALTH:
        return Finding(
            Status.WARN,
            f"{took}: the scheduler is busy or stuck",
            f"less than {SLOW_HEALTH:g} s; until then, timeoutSeconds: 25 in a liveness probe",
            READ_THE_LOG,
        )
    if answer.seconds >= KUBERNETES_SECONDS:
        took += "; a Kubernetes probe needs timeoutSeconds above its default of 1"
    return Finding(Status.OK, took)


def keep_alive(subject: LiveSubject) -> Finding:
    """Look whether a connection that idles is still there afterwards."""
    seconds = subject.idle_seconds
    first, second = subject.server.on_one_connection("/v1/models", lambda: time.sleep(seconds))
    if first.local is None or second.local is None:
        return Finding(Status.SKIP, "the connection does not show its ends")
    if first.local != second.local:
        return Finding(
            Status.WARN,
            f"the server closed a connection that had idled for {seconds:g} s",
            "a longer patience than that of proxies and clients, or they see resets and 502",
            "export SGLANG_TIMEOUT_KEEP_ALIVE=75  # where the server runs; sgl-embed launch does",
        )
    return Finding(Status.OK, f"a connection that idled for {seconds:g} s is still there")
