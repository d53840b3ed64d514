"""The HTTP seam against servers that mean harm: bounded, clear, and the key stays here."""

from __future__ import annotations

import datetime
import gzip
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live import connection
from sgl_embed_kit.doctor.live.answers import LiveError, quoted
from sgl_embed_kit.doctor.live.server import (
    MOST_BYTES,
    REQUEST_SECONDS,
    LiveServer,
    TlsError,
    UnreachableError,
    server_url,
)
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.errors import UsageError
from tests.conftest import free_port
from tests.doctor.checks.fixes import is_pasteable
from tests.doctor.live.hostile import Behaviour, for_ever, hostile, response, sends, silent

KEY = "k3y.of-the_users"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def asked(behaviour: Behaviour, seconds: float = 10) -> Finding:
    """Ask a hostile server, and return what is said of its answer."""
    with hostile(behaviour) as server, pytest.raises(LiveError) as caught:
        live = LiveServer(server_url(f"http://127.0.0.1:{server.port}"), KEY)
        live.ask("GET", "/v1/models", seconds=seconds)
    return caught.value.finding


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (silent, "GET /v1/models was not answered within 0.5 s"),
        (for_ever(b"x", HEAD + b"X-Slow: ", 0.05), "not answered within 0.5 s"),
        (for_ever(b"1\r\nx\r\n", CHUNKED, 0.05), "not answered within 0.5 s"),
        (for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", b"", 0.05), "not answered within 0.5 s"),
    ],
    ids=["silence", "headers byte by byte", "body byte by byte", "continue for ever"],
)
def test_an_answer_that_never_ends_is_given_up(behaviour: Behaviour, said: str) -> None:
    finding = asked(behaviour, seconds=0.5)
    assert finding.status is Status.ERROR
    assert said in finding.found


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (sends(), "broke off: Server disconnected"),
        (sends(b"\x15\x03\x03\x00\x02\x02\x46garbage\r\n\r\n"), "broke off: "),
        (sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "broke off: "),
        (sends(response(b"short", length=100)), "broke off: "),
        (for_ever(b"x" * 65536, HEAD + b"X-Large: "), "broke off: "),
        (sends(response(b"x" * (8 * 2**20 + 1))), "more than 8 MiB"),
        (for_ever(b"10000\r\n" + b"x" * 65536 + b"\r\n", CHUNKED), "more than 8 MiB"),
        (
            sends(response(gzip.compress(bytes(50 * 2**20)), "Content-Encoding: gzip")),
            "compressed (gzip), although that was not asked for",
        ),
        (
            sends(response(b"", "Location: http://host:port/", status="302 Found")),
            "broke off: Invalid URL",
        ),
        (sends(response(b"", status="302 Found")), "a redirect to nowhere"),
    ],
    ids=[
        "hangs up",
        "TLS alert",
        "SSH",
        "cut short",
        "header without end",
        "large",
        "endless",
        "gzip bomb",
        "redirect to no address",
        "redirect to nowhere",
    ],
)
def test_an_answer_of_no_use_is_told_as_what_it_is(behaviour: Behaviour, said: str) -> None:
    finding = asked(behaviour)
    assert finding.status is Status.ERROR
    assert said in finding.found
    assert finding.needed


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 T", "308 P"])
def test_no_redirect_is_followed_and_no_key_travels_on(status: str) -> None:
    with hostile(sends(response(b"{}"))) as elsewhere:
        target = f"Location: http://user:word@127.0.0.1:{elsewhere.port}/login?next=1"
        finding = asked(sends(response(b"", target, status=status)))
        assert elsewhere.heads == []
    assert finding.status is Status.ERROR
    assert f"redirected to http://127.0.0.1:{elsewhere.port}/login, where no key" in finding.found
    assert finding.fix == f"sgl-embed doctor --url http://127.0.0.1:{elsewhere.port}"


def test_the_longest_answer_that_is_read_is_read_whole() -> None:
    with hostile(sends(response(b"x" * MOST_BYTES))) as server:
        live = LiveServer(server_url(f"http://127.0.0.1:{server.port}"))
        assert len(live.ask("GET", "/v1/models").body) == MOST_BYTES


@pytest.mark.parametrize("took", [REQUEST_SECONDS, REQUEST_SECONDS + 0.1])
def test_an_answer_may_take_just_its_time(monkeypatch: pytest.MonkeyPatch, took: float) -> None:
    now = {"value": 0.0}

    def answer(_request: httpx.Request) -> httpx.Response:
        now["value"] += took
        return httpx.Response(200, content=b"late")

    monkeypatch.setattr("sgl_embed_kit.doctor.live.server.time.monotonic", lambda: now["value"])
    live = LiveServer(server_url("http://x"), transport=httpx.MockTransport(answer))
    if took > REQUEST_SECONDS:
        with pytest.raises(LiveError, match="not answered within 10 s"):
            live.get("/")
    else:
        assert live.get("/").body == b"late"


def test_a_redirect_to_itself_is_not_followed_either() -> None:
    with hostile(sends(response(b"", "Location: /v1/models", status="302 Found"))) as server:
        live = LiveServer(server_url(f"http://127.0.0.1:{server.port}"))
        with pytest.raises(LiveError, match="redirected to"):
            live.get("/v1/models")
        assert len(server.heads) == 1


def test_a_port_that_nobody_holds_refuses() -> None:
    live = LiveServer(server_url(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(UnreachableError, match="cannot be reached: Connection refused"):
        live.get("/v1/models")


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    live = LiveServer(server_url("http://no-such-host.invalid"))
    with pytest.raises(UnreachableError, match=r"no-such-host\.invalid cannot be reached"):
        live.get("/v1/models")


def test_the_key_is_sent_only_where_it_should_be_and_no_proxy_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hostile(sends(response(b"{}"))) as server, hostile(sends(response(b"{}"))) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{proxy.port}")
        live = LiveServer(server_url(f"http://127.0.0.1:{server.port}"), KEY)
        live.ask("GET", "/a")
        live.ask("GET", "/b", with_key=False)
        with_key = [f"Bearer {KEY}".encode() in head for head in server.heads]
        assert with_key == [True, False]
        assert all(b"Accept-Encoding: identity" in head for head in server.heads)
        assert proxy.heads == []


def test_what_several_checks_ask_for_is_asked_once_also_where_it_fails() -> None:
    with hostile(sends()) as server:
        live = LiveServer(server_url(f"http://127.0.0.1:{server.port}"))
        for _ in range(2):
            with pytest.raises(LiveError):
                live.get("/v1/models")
        assert len(server.heads) == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Make this process trust the authority, as the cure says."""
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    yield file


def tls(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def over_tls(authority: trustme.CA, host: str = "127.0.0.1") -> Finding:
    """Return what the check of TLS says of a server with a certificate for a host."""
    answer = response(b'{"data": [{"id": "m"}]}')
    with hostile(sends(answer), tls(authority, host)) as server:
        live = LiveServer(server_url(f"https://127.0.0.1:{server.port}"), KEY)
        finding = connection.tls(LiveSubject(live))
        if finding.status is Status.ERROR:
            assert server.heads == []  # nothing was sent to who could not be trusted
            with pytest.raises(TlsError):
                live.get("/v1/models")
        return finding


def test_a_certificate_that_nobody_vouches_for_is_told_with_its_cure(
    authority: trustme.CA,
) -> None:
    finding = over_tls(authority)
    assert finding.status is Status.ERROR
    assert "certificate" in finding.found
    assert finding.fix.startswith("export SSL_CERT_FILE=")


@pytest.mark.usefixtures("trusted")
def test_with_the_authority_it_is_trusted(authority: trustme.CA) -> None:
    finding = over_tls(authority)
    assert finding.status is Status.OK
    assert "the certificate is valid for" in finding.found


@pytest.mark.usefixtures("trusted")
def test_a_certificate_for_another_host_is_told(authority: trustme.CA) -> None:
    finding = over_tls(authority, "other.example")
    assert finding.status is Status.ERROR
    assert finding.fix.startswith("openssl s_client -connect 127.0.0.1:")
    assert ":443 " not in finding.fix  # it has a port of its own
    assert is_pasteable(finding.fix)


@pytest.mark.usefixtures("trusted")
def test_a_certificate_that_has_ended_is_told(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    with hostile(sends(response(b"{}")), context) as server:
        live = LiveServer(server_url(f"https://127.0.0.1:{server.port}"))
        finding = connection.tls(LiveSubject(live))
    assert "expired" in finding.found
    assert finding.fix.startswith("certbot renew")


def test_https_to_a_server_of_plain_http_is_told() -> None:
    with hostile(sends(response(b"{}"))) as server:
        live = LiveServer(server_url(f"https://127.0.0.1:{server.port}"))
        with pytest.raises(TlsError, match=r"does not speak TLS: [A-Z_]+$"):
            live.get("/v1/models")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://host", "http://host"),
        ("http://host:30000/", "http://host:30000"),
        (" https://host/v1 ", "https://host"),
        ("https://host/embed/v1/", "https://host/embed"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("HTTP://Host", "http://host"),
    ],
)
def test_an_address_is_taken_with_and_without_v1(text: str, address: str) -> None:
    assert LiveServer(server_url(text)).address == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:30000", "127.0.0.1:30000", "ftp://host", "http://", "file:///etc"),
        *("http://[", "http://host:99999999", "http://ho\x00st", "http://a:b@host"),
        *("http://host:0", "http://host:65536", "ftp://a:b@host"),
        *("http://host?a=b", "http://host#a", "http://user@host"),
    ],
)
def test_what_is_no_address_is_wrong_use(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        server_url(text)
    assert caught.value.why
    assert "a:b" not in f"{caught.value.what}{caught.value.why}{caught.value.cure}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\r\ntwo\tthree", "one two three"),
        ("\x1b[31mred\x07", "?[31mred?"),
        ("x" * 200, "x" * 160 + "…"),
        ("x" * 160, "x" * 160),
        ("\u202egnp.exe", "?gnp.exe"),
    ],
)
def test_foreign_text_is_one_short_printable_line(text: str, shown: str) -> None:
    assert quoted(text) == shown


def test_a_connection_that_the_server_closes_while_it_idles_is_noticed() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b'{"data":[]}'

    def twice(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(answer)
        connection.recv(65536)
        connection.sendall(answer)

    for behaviour, closes in ((sends(answer), True), (twice, False)):
        with hostile(behaviour) as server:
            live = LiveServer(server_url(f"http://127.0.0.1:{server.port}"))
            first, second = live.on_one_connection("/v1/models", lambda: time.sleep(0.2))
        assert (first.local != second.local) is closes


def test_tests_need_no_sockets_where_a_transport_is_given() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json={}))
    assert LiveServer(server_url("http://x"), transport=transport).get("/").status == 200
