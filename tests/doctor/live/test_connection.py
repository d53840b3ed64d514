"""The way to a server: what the live checks find."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.live import connection
from tests.doctor.live.cases import Case
from tests.doctor.live.fakes import KEY, FakeSglang, Stream, find, refusal

ABROAD = "http://embeddings.example:30000"
SECURE = "https://embeddings.example"
PAGE = httpx.Response(200, text="<!DOCTYPE html><title>Sign in</title>")


def certificate(days: float) -> Stream:
    ends = datetime.now(UTC) + timedelta(days=days)
    return Stream(certificate={"notAfter": ends.strftime("%b %d %H:%M:%S %Y GMT")})


def refuses(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("[Errno 111] Connection refused")


def hangs_up(_request: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("Server disconnected without sending a response.")


DEAD = FakeSglang(routes={"/v1/models": refuses})
LOCKED = FakeSglang(key=KEY)

CASES: list[Case] = [
    ("SGE-LIVE-001", {}, Status.OK, "http://127.0.0.1:30000 answers in"),
    ("SGE-LIVE-001", {"server": LOCKED}, Status.OK, "answers"),
    ("SGE-LIVE-001", {"server": DEAD}, Status.ERROR, "cannot be reached: Connection refused"),
    (
        "SGE-LIVE-001",
        {"server": FakeSglang(routes={"/v1/models": hangs_up})},
        Status.ERROR,
        "GET /v1/models broke off: Server disconnected",
    ),
    (
        "SGE-LIVE-001",
        {"server": FakeSglang(routes={"/v1/models": PAGE})},
        Status.ERROR,
        "answered with a web page",
    ),
    (
        "SGE-LIVE-001",
        {"server": FakeSglang(routes={"/v1/models": httpx.Response(200)})},
        Status.ERROR,
        "answered with nothing",
    ),
    (
        "SGE-LIVE-001",
        {"server": FakeSglang(routes={"/v1/models": httpx.Response(200, json={"data": 1})})},
        Status.ERROR,
        "answered with other JSON",
    ),
    (
        "SGE-LIVE-001",
        {"server": FakeSglang(routes={"/v1/models": refusal(502, "bad gateway")})},
        Status.ERROR,
        "GET /v1/models is answered with 502: bad gateway",
    ),
    (
        "SGE-LIVE-001",
        {"server": FakeSglang(routes={"/v1/models": refusal(403)})},
        Status.WARN,
        "closed (403)",
    ),
    ("SGE-LIVE-002", {}, Status.OK, "plain HTTP, which does not leave this machine"),
    ("SGE-LIVE-002", {"url": "http://[::1]:30000"}, Status.OK, "does not leave"),
    ("SGE-LIVE-002", {"url": "http://localhost:30000"}, Status.OK, "does not leave"),
    ("SGE-LIVE-002", {"url": ABROAD}, Status.INFO, "texts travel readable"),
    (
        "SGE-LIVE-002",
        {"url": ABROAD, "server": LOCKED, "key": KEY},
        Status.WARN,
        "texts and the key travel readable",
    ),
    (
        "SGE-LIVE-002",
        {"url": SECURE, "server": FakeSglang(streams=(certificate(90.2),))},
        Status.OK,
        "valid for 90 more days",
    ),
    (
        "SGE-LIVE-002",
        {"url": SECURE, "server": FakeSglang(streams=(certificate(14.1),))},
        Status.OK,
        "valid for 14 more days",
    ),
    (
        "SGE-LIVE-002",
        {"url": SECURE, "server": FakeSglang(streams=(certificate(13.2),))},
        Status.WARN,
        "valid for 13 more days",
    ),
    (
        "SGE-LIVE-002",
        {"url": SECURE, "server": FakeSglang(streams=(Stream(certificate={}),))},
        Status.SKIP,
        "does not say when it ends",
    ),
    ("SGE-LIVE-002", {"server": DEAD}, Status.SKIP, "no answer"),
    ("SGE-LIVE-003", {}, Status.OK, "no key is asked for, on this machine"),
    ("SGE-LIVE-003", {"url": ABROAD}, Status.WARN, "without any key is answered"),
    ("SGE-LIVE-003", {"server": LOCKED}, Status.ERROR, "asks for a key, and there is none"),
    ("SGE-LIVE-003", {"server": LOCKED, "key": KEY}, Status.OK, "without the key gets 401"),
    ("SGE-LIVE-003", {"server": LOCKED, "key": "other"}, Status.ERROR, "refuses the key"),
    ("SGE-LIVE-003", {"key": KEY}, Status.WARN, "without any key is answered"),
    (
        "SGE-LIVE-003",
        {"key": KEY, "profile": {"server": {"api_key_env": "LOCK"}}},
        Status.ERROR,
        "without any key is answered",
    ),
    ("SGE-LIVE-003", {"key": KEY, "profile": {}}, Status.WARN, "without any key is answered"),
    (
        "SGE-LIVE-003",
        {"key": KEY, "server": FakeSglang(routes={"/v1/models": refusal(403)})},
        Status.SKIP,
        "answered with 403",
    ),
    ("SGE-LIVE-004", {}, Status.OK, "/health says 200 in 0.0 s"),
    (
        "SGE-LIVE-004",
        {"server": FakeSglang(routes={"/health": httpx.Response(503)})},
        Status.ERROR,
        "/health says 503",
    ),
    (
        "SGE-LIVE-004",
        {"server": FakeSglang(routes={"/health": httpx.Response(404)})},
        Status.SKIP,
        "closed (404)",
    ),
    ("SGE-LIVE-005", {}, Status.OK, "is still there"),
    (
        "SGE-LIVE-005",
        # The first connection is that of the contact.
        {"server": FakeSglang(streams=(Stream(), Stream(1), Stream(2)))},
        Status.WARN,
        "closed a connection",
    ),
    (
        "SGE-LIVE-005",
        {"server": FakeSglang(streams=(Stream(None),))},
        Status.SKIP,
        "does not show its ends",
    ),
    (
        "SGE-LIVE-005",
        {"server": FakeSglang(streams=(Stream(), Stream(1), Stream(None)))},
        Status.SKIP,
        "does not show its ends",
    ),
]


@pytest.mark.parametrize(
    ("took", "status", "said"),
    [
        (0.99, Status.OK, "in 1.0 s"),
        (1.0, Status.OK, "timeoutSeconds above its default of 1"),
        (1.01, Status.OK, "timeoutSeconds above its default of 1"),
        (4.9, Status.OK, "in 4.9 s"),
        (5.0, Status.WARN, "busy or stuck"),
    ],
)
def test_health_is_held_against_what_a_probe_waits(
    monkeypatch: pytest.MonkeyPatch, took: float, status: Status, said: str
) -> None:
    now = {"value": 0.0}

    def health(_request: httpx.Request) -> httpx.Response:
        now["value"] += took
        return httpx.Response(200)

    server = FakeSglang(routes={"/health": health})
    monkeypatch.setattr("sgl_embed_kit.doctor.live.server.time.monotonic", lambda: now["value"])
    finding = find("SGE-LIVE-004", server)
    assert (finding.status, said in finding.found) == (status, True)
    assert ("Kubernetes" in finding.found) is (1 <= took < connection.SLOW_HEALTH)


@pytest.mark.parametrize(
    ("url", "port"), [("http://far.example:8080", 8080), ("http://far.example", 80)]
)
def test_a_key_in_the_open_is_cured_by_a_tunnel_to_the_servers_port(url: str, port: int) -> None:
    finding = find("SGE-LIVE-002", LOCKED, url=url, key=KEY)
    assert finding.fix == (
        f"ssh -N -L {port}:127.0.0.1:{port} far.example  # then ask http://127.0.0.1:{port}"
    )


def test_a_server_that_is_not_there_is_told_once() -> None:
    for check in ("SGE-LIVE-003", "SGE-LIVE-010", "SGE-LIVE-014", "SGE-LIVE-023"):
        finding = find(check, FakeSglang(routes={"/v1/models": refuses}))
        assert (finding.status, finding.found) == (
            Status.SKIP,
            "the server gives no answer that could be used",
        )


@pytest.mark.parametrize(
    ("status", "took", "times"),
    [(503, 0.0, 2), (503, 0.99, 2), (503, 1.0, 1), (503, 20.0, 1), (200, 0.0, 1), (404, 0.0, 1)],
)
def test_only_a_server_that_is_just_warming_up_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, status: int, took: float, times: int
) -> None:
    """It says 503 at once; one that is stuck says it when its own time limit is over."""
    now = {"value": 0.0}
    said = [httpx.Response(200), httpx.Response(status)]

    def health(_request: httpx.Request) -> httpx.Response:
        now["value"] += took
        return said.pop()

    monkeypatch.setattr("sgl_embed_kit.doctor.live.server.time.monotonic", lambda: now["value"])
    finding = find("SGE-LIVE-004", FakeSglang(routes={"/health": health}))
    assert len(said) == 2 - times
    assert f"/health says {200 if times > 1 else status}" in finding.found or status == 404


@pytest.mark.parametrize(
    ("left", "status"), [(14 * 86400, Status.OK), (14 * 86400 - 1, Status.WARN)]
)
def test_a_certificate_is_to_be_renewed_two_weeks_before_its_end(
    monkeypatch: pytest.MonkeyPatch, left: int, status: Status
) -> None:
    stream = Stream(certificate={"notAfter": "Jan  1 00:00:00 2030 GMT"})
    ends = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    monkeypatch.setattr("sgl_embed_kit.doctor.live.connection.time.time", lambda: ends - left)
    finding = find("SGE-LIVE-002", FakeSglang(streams=(stream,)), url=SECURE)
    assert finding.status is status
