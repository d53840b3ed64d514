"""What a server's answers hold, read with a schema each, and what can be wrong with them.

An answer may be anything: it is read up to a limit, into these shapes only, and nothing of
it is shown but printable text of one line.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TypeVar

import msgspec

from sgl_embed_kit.client.wire import decode_error
from sgl_embed_kit.doctor.engine import Finding, Status

LONGEST_QUOTE = 160
CLOSED = frozenset({403, 404, 405, 501})
"""Statuses of a route that is not there, or that a gateway does not let through."""

NO_ANSWER = Finding(Status.SKIP, "the server gives no answer that could be used")
"""What all checks say where one has told what is wrong."""

READ_THE_LOG = "sgl-embed doctor --log FILE  # the server's log"

T = TypeVar("T")


class LiveError(Exception):
    """A server gave no answer that could be used.

    Attributes:
        finding: What a check says of it.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding

    def cured(self, fix: str) -> Finding:
        """Return the finding, with this cure where it has none of its own."""
        is_bare = self.finding.status is Status.ERROR and not self.finding.fix
        return replace(self.finding, fix=fix) if is_bare else self.finding


class LockedError(LiveError):
    """The server wants a key, or another one; that is told by one check alone."""


class CacheState(msgspec.Struct):
    """`embedding.cache` of /model_info: what is switched off."""

    radix_cache_disabled: bool = False
    chunked_prefill_disabled: bool = False


class EmbeddingPlan(msgspec.Struct):
    """`embedding` of /model_info (srt/configs/embedding_model_spec.py, since 0.5.18)."""

    cache: CacheState | None = None


class ModelInfo(msgspec.Struct):
    """/model_info (srt/entrypoints/http_server.py)."""

    is_generation: bool
    architectures: list[str] | None = None
    embedding: EmbeddingPlan | None = None


class ServerInfo(msgspec.Struct):
    """/server_info: a few of its hundreds of fields, and none of its keys."""

    version: str | None = None
    max_total_num_tokens: int | None = None


class ModelCard(msgspec.Struct):
    """A model of /v1/models."""

    id: str
    max_model_len: int | None = None


class Models(msgspec.Struct):
    """/v1/models."""

    data: list[ModelCard]


class Tokens(msgspec.Struct):
    """/v1/tokenize for one text."""

    tokens: list[int]


class Text(msgspec.Struct):
    """/v1/detokenize for one list of ids."""

    text: str


class Life(msgspec.Struct):
    """/livez, as the guard answers it (guard/liveness.py)."""

    guard: str
    launch_id: str | None = None


class Routes(msgspec.Struct):
    """/openapi.json."""

    paths: dict[str, msgspec.Raw]


@dataclass(frozen=True)
class Answer:
    """What came back for a request.

    Attributes:
        what: The request, such as "GET /health".
        url: Where it was sent.
        status: The HTTP status.
        headers: The headers, by their names in lower case.
        body: The body.
        seconds: Time from the request to the end of the body.
        local: The client's end of the connection, where it is known.
        certificate: The server's certificate as `ssl.SSLSocket.getpeercert` gives it;
            None without TLS.
    """

    what: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    local: object = None
    certificate: Mapping[str, object] | None = None

    @property
    def message(self) -> str:
        """What an error answer says, on one line."""
        return quoted(decode_error(self.body))

    @property
    def shown_by(self) -> str:
        """The command that shows who answers: a gateway, a login page, another program."""
        return f"curl -i {shlex.quote(self.url)}  # shows what stands between here and SGLang"

    def expect_ok(self) -> None:
        """Go on where the status is 200.

        Raises:
            LiveError: it is another.
        """
        if self.status == HTTPStatus.UNAUTHORIZED:
            raise LockedError(Finding(Status.SKIP, f"{self.what} needs a key that fits"))
        if self.status in CLOSED:
            raise LiveError(Finding(Status.SKIP, f"{self.what} is closed ({self.status})"))
        if self.status != HTTPStatus.OK:
            said = f": {self.message}" if self.message else ""
            found = f"{self.what} is answered with {self.status}{said}"
            raise LiveError(Finding(Status.ERROR, found, "an answer with 200"))

    def read(self, kind: type[T]) -> T:
        """Return the content of an answer with status 200.

        Raises:
            LiveError: it has another status, or another content.
        """
        self.expect_ok()
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise LiveError(
                Finding(
                    Status.ERROR,
                    f"{self.what} is answered with {_kind_of(self.body)}: {quoted(str(error))}",
                    "the JSON that SGLang sends",
                    self.shown_by,
                )
            ) from error


def quoted(text: str) -> str:
    """Return foreign text as one short line without control characters."""
    line = " ".join(text[: 4 * LONGEST_QUOTE].split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}…"


def _kind_of(body: bytes) -> str:
    start = body[:200].lstrip().lower()
    if not start:
        return "nothing"
    if start.startswith((b"<!doctype", b"<html")):
        return "a web page"
    return "other JSON" if start[:1] in b"{[" else "no JSON"
