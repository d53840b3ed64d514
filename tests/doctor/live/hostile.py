"""A server on a real socket that does to its clients whatever a test wants."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Behaviour = Callable[[socket.socket, bytes], None]
"""Gets a connection and the head of the request that came over it."""


@dataclass
class Hostile:
    """A server that runs: its port, and the heads of all requests that it got."""

    port: int
    heads: list[bytes] = field(default_factory=list)


@contextmanager
def hostile(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Iterator[Hostile]:
    """Serve on a free port of 127.0.0.1, a thread a connection, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server, ended = Hostile(listening.getsockname()[1]), threading.Event()

        def talk(connection: socket.socket) -> None:
            with suppress(OSError), connection:
                connection.settimeout(10)
                wrapped = tls.wrap_socket(connection, server_side=True) if tls else connection
                with wrapped:
                    head = wrapped.recv(65536)
                    server.heads.append(head)
                    behaviour(wrapped, head)

        def accept() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    connection, _ = listening.accept()
                    threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            ended.set()
            with suppress(OSError):  # wakes the thread that accepts
                socket.create_connection(("127.0.0.1", server.port), 1).close()


def response(
    body: bytes, *headers: str, status: str = "200 OK", length: int | None = None
) -> bytes:
    """Return a whole answer in HTTP/1.1."""
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def sends(*parts: bytes) -> Behaviour:
    """Return a behaviour: send this and hang up."""

    def send(connection: socket.socket, _head: bytes) -> None:
        for part in parts:
            connection.sendall(part)

    return send


def for_ever(part: bytes, before: bytes = b"", pause: float = 0.0) -> Behaviour:
    """Return a behaviour: send the same again and again, as long as somebody reads."""

    def send(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(before)
        waiting = threading.Event()
        while not waiting.wait(pause):
            connection.sendall(part)

    return send


def silent(connection: socket.socket, _head: bytes) -> None:
    """Say nothing for as long as the client stays."""
    connection.recv(1)
