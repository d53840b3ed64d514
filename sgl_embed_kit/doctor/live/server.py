"""The HTTP seam of the live checks: every request is bounded in time and size.

The server that answers is not trusted: redirects are not followed, so that the key goes
nowhere else; nothing is decompressed; each request has an end however slowly its answer
comes; and of an answer no more than a limit is read.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial

import httpx
import msgspec

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import Answer, LiveError, quoted
from sgl_embed_kit.errors import UsageError
from sgl_embed_kit.loopback import is_loopback
from sgl_embed_kit.time_limit import within

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 10.0
MOST_BYTES = 8 * 2**20
"""An answer longer than this is cut off: 64 vectors of 4096 JSON numbers have 6 million."""

RENEW = "certbot renew  # or whatever brings your certificates"
_HOST = re.compile(rb"[A-Za-z0-9._:-]+")
NO_HEADERS: Mapping[str, str] = {}


class UnreachableError(LiveError):
    """The server cannot be talked to at all."""

    def __init__(self, found: str, needed: str, fix: str) -> None:
        super().__init__(Finding(Status.ERROR, found, needed, fix))


class TlsError(UnreachableError):
    """The server cannot be talked to in confidence."""


class LiveServer:
    """A server at an address, asked politely.

    Args:
        url: Its address, as `server_url` returns it.
        api_key: Key that requests carry; None where there is none.
        transport: How requests travel; for tests.
    """

    def __init__(
        self,
        url: httpx.URL,
        api_key: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url, self.has_key = url, api_key is not None
        self._key_header = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._transport = transport
        self._client = self._new_client()
        self._lock = threading.Lock()
        self._known: dict[str, Future[Answer]] = {}

    @property
    def address(self) -> str:
        """The address for people."""
        return str(self.url).rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        return is_loopback(self.url.host)

    def get(self, path: str) -> Answer:
        """Return the answer to a GET, which is sent once however many checks ask for it.

        Raises:
            LiveError: no answer came.
        """
        with self._lock:
            is_first = path not in self._known
            known = self._known.setdefault(path, Future())
        if is_first:
            try:
                known.set_result(self.ask("GET", path))
            except Exception as error:  # all who wait for it must hear of it
                known.set_exception(error)
        return known.result()

    def ask(
        self,
        method: str,
        path: str,
        content: object = None,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        with_key: bool = True,
        seconds: float = REQUEST_SECONDS,
    ) -> Answer:
        """Send a request and return its answer.

        Args:
            method: Such as "GET".
            path: Begins with a slash.
            content: What to send as JSON, or None.
            headers: More headers.
            with_key: Whether to send the key, if there is one.
            seconds: Time after which it is given up.

        Raises:
            LiveError: no answer came, or one that is too long, or leads elsewhere.
        """
        key = self._key_header if with_key else {}
        return self._send(self._client, method, path, content, {**headers, **key}, seconds)

    def on_one_connection(self, path: str, pause: Callable[[], None]) -> tuple[Answer, Answer]:
        """Return the answers to two GETs over a connection that idles in between.

        Args:
            path: What to ask for.
            pause: Waits.

        Raises:
            LiveError: no answer came.
        """
        with self._new_client() as client:
            send = partial(self._send, client, "GET", path, None, self._key_header, REQUEST_SECONDS)
            first = send()
            pause()
            return first, send()

    def close(self) -> None:
        """Close the connections that are open."""
        self._client.close()

    def _new_client(self) -> httpx.Client:
        is_secure = self.url.scheme == "https"
        return httpx.Client(
            transport=self._transport,
            verify=httpx.create_ssl_context(verify=is_secure),
            # A proxy would read what travels in plain HTTP, keys included.
            trust_env=is_secure,
            limits=httpx.Limits(keepalive_expiry=None),
            headers={"Accept-Encoding": "identity", "User-Agent": "sgl-embed doctor"},
        )

    def _send(
        self,
        client: httpx.Client,
        method: str,
        path: str,
        content: object,
        headers: Mapping[str, str],
        seconds: float,
    ) -> Answer:
        what = f"{method} {path}"
        request = client.build_request(
            method,
            f"{self.address}{path}",
            content=None if content is None else msgspec.json.encode(content),
            headers={"Content-Type": "application/json", **headers},
            timeout=httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)),
        )
        with self._faults(what, seconds):
            return within(seconds, lambda: _travel(client, request, what, seconds), "live-request")

    @contextmanager
    def _faults(self, what: str, seconds: float) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, httpx.TimeoutException) as error:
            if isinstance(error, httpx.ConnectTimeout):
                raise self._unreachable(f"no connection within {CONNECT_SECONDS:g} s") from error
            needed = "a whole answer by then"
            raise LiveError(
                Finding(Status.ERROR, f"{what} was not answered within {seconds:g} s", needed)
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = _tls_reason(error, self.url)
            if reason is not None:
                raise TlsError(*reason) from error
            if isinstance(error, httpx.ConnectError):
                raise self._unreachable(_without_number(error)) from error
            raise LiveError(
                Finding(
                    Status.ERROR,
                    f"{what} broke off: {quoted(_without_number(error))}",
                    "an answer in HTTP/1.1",
                    f"curl -iv {self.address}{what.split()[1]}",
                )
            ) from error

    def _unreachable(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"{self.address} cannot be reached: {quoted(why)}",
            "a server that listens there",
            f"curl -iv {self.address}/v1/models",
        )


def server_url(text: str) -> httpx.URL:
    """Return an address without a `/v1` at its end.

    Raises:
        UsageError: it is not the address of a server.
    """
    example = "sgl-embed doctor --url http://127.0.0.1:30000"
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError("The URL is none.", why=quoted(str(error)), cure=example) from error
    is_address = _HOST.fullmatch(url.raw_host) and (url.port is None or 0 < url.port < 65536)  # noqa: PLR2004
    if url.scheme not in {"http", "https"} or not is_address:
        raise UsageError(
            f"{quoted(text)} is not the address of a server."
            if "@" not in text
            else "The URL is not the address of a server.",
            why="It needs http:// or https://, a host, and a port if it is not the usual one.",
            cure=example,
        )
    if url.userinfo or url.query or url.fragment:
        raise UsageError(
            "The URL holds more than an address.",
            why="A key or password in it would be seen in the process list.",
            cure="export SGL_EMBED_API_KEY=… and pass the bare address",
        )
    path = url.path.rstrip("/").removesuffix("/v1")
    return url.copy_with(path=path or "/")


def _travel(client: httpx.Client, request: httpx.Request, what: str, seconds: float) -> Answer:
    began = time.monotonic()
    response = client.send(request, stream=True, follow_redirects=False)
    try:
        if response.is_redirect:
            raise _redirected(what, response)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise _unusable(
                what, f"compressed ({quoted(encoding)}), although that was not asked for"
            )
        # Asked for before the body is read, because its end may close the connection.
        stream = response.extensions.get("network_stream")
        local = stream.get_extra_info("client_addr") if stream else None
        tls = stream.get_extra_info("ssl_object") if stream else None
        certificate = tls.getpeercert() if tls else None
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise _unusable(what, f"more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() - began > seconds:
                raise TimeoutError
        return Answer(
            what=what,
            url=str(request.url),
            status=response.status_code,
            headers=dict(response.headers),
            body=bytes(body),
            seconds=time.monotonic() - began,
            local=local,
            certificate=certificate,
        )
    finally:
        response.close()


def _redirected(what: str, response: httpx.Response) -> LiveError:
    try:
        target = response.request.url.join(response.headers["location"])
    except (KeyError, httpx.InvalidURL, ValueError):
        return _unusable(what, "a redirect to nowhere")
    origin = f"{target.scheme}://{target.netloc.decode('ascii', 'replace').rpartition('@')[2]}"
    return LiveError(
        Finding(
            Status.ERROR,
            f"{what} is redirected to {quoted(origin + target.path)}, where no key may follow",
            "the address of the server itself",
            f"sgl-embed doctor --url {quoted(origin)}",
        )
    )


def _unusable(what: str, content: str) -> LiveError:
    return LiveError(
        Finding(Status.ERROR, f"{what} is answered with {content}", "the JSON that SGLang sends")
    )


def _tls_reason(error: BaseException, url: httpx.URL) -> tuple[str, str, str] | None:
    """Say what is wrong with TLS and what cures it; None where it is something else."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"it does not speak TLS: {quoted(cause.reason or str(cause))}",
            "TLS, as https:// says",
            f"sgl-embed doctor --url {url.copy_with(scheme='http')}  # if that is what it speaks",
        )
    message = quoted(cause.verify_message)
    if cause.verify_code == _EXPIRED:
        return f"its certificate: {message}", "one that is valid today", RENEW
    if "not valid for" in message:  # of a name or of an address (_ssl.c of CPython)
        names = "openssl x509 -noout -ext subjectAltName  # names that it is for"
        shown = f"openssl s_client -connect {url.host}:{url.port or 443} </dev/null | {names}"
        return f"its certificate: {message}", "one for this host", shown
    return (
        f"its certificate: {message}",
        "one from an authority that this machine trusts",
        "export SSL_CERT_FILE=ca.pem  # the certificate of your own authority",
    )


_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED (openssl/x509_vfy.h)


def _without_number(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text.partition("] ")[2] if text.startswith("[Errno ") else text
