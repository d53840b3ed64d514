"""Who listens on a port and who holds a connection, with real sockets and real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sgl_embed_kit.launch import listener
from sgl_embed_kit.launch.listener import holds, listens, process_tree, strangers
from tests.conftest import free_port

SERVER = """
import socket, sys, time
made = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
made.bind((sys.argv[1], int(sys.argv[2])))
made.listen()
print(made.getsockname()[1], flush=True)
kept = [made.accept() for _ in range(9)]
"""


@contextmanager
def serving(host: str, port: int = 0) -> Iterator[tuple[int, int]]:
    """Let another process listen; yield its id and its port."""
    argv = [sys.executable, "-c", SERVER, host, str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def test_a_child_belongs_to_the_tree_and_a_stranger_does_not() -> None:
    with serving("127.0.0.1") as (pid, _):
        assert process_tree(os.getpid()) >= {os.getpid(), pid}
        assert process_tree(pid) == {pid}
    assert process_tree(pid) == frozenset()


def test_only_its_own_port_counts_as_listened_on() -> None:
    with serving("127.0.0.1") as (pid, port), socket.create_server(("127.0.0.1", 0)) as ours:
        assert listens({pid}, port)
        assert listens(process_tree(os.getpid()), port)
        assert not listens({os.getpid()}, port)
        assert not listens({pid}, ours.getsockname()[1])
    assert not listens({pid}, port)


def test_the_other_end_of_a_connection_is_known_by_its_owner() -> None:
    with (
        serving("127.0.0.1") as (pid, port),
        socket.create_connection(("127.0.0.1", port)) as one,
        socket.create_connection(("127.0.0.1", port)) as other,
    ):
        other.close()
        assert listener_has(pid, port, one.getsockname())
        assert not holds({os.getpid()}, port, one.getsockname())  # it has the near end
        assert not holds({pid}, port + 1, one.getsockname())
        assert not holds({pid}, port, ("127.0.0.2", one.getsockname()[1]))
        assert not holds({pid}, port, ("127.0.0.1", 1))
    assert not holds({pid}, port, None)
    assert not holds({pid}, port, "127.0.0.1:1")


def listener_has(pid: int, port: int, client: object) -> bool:
    """Say whether a process holds a connection; it takes a moment to accept one."""
    return any(holds({pid}, port, client) for _ in range(200))


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", False),  # ours is nearer
        ("127.0.0.2", "127.0.0.1", False),
    ],
)
def test_a_stranger_is_whoever_clients_would_reach(theirs: str, ours: str, told: bool) -> None:
    with serving(theirs, free_port()) as (pid, port):
        found = strangers({os.getpid()}, ours, port)
        assert [(one.address, one.pid) for one in found] == ([(theirs, pid)] if told else [])
        assert strangers({pid}, ours, port) == []
        assert strangers({os.getpid()}, ours, port + 1) == []


@pytest.mark.parametrize(
    ("theirs", "ours", "takes"),
    [
        ("::1", "::1", True),
        ("::1", "::", True),
        ("::1", "0.0.0.0", False),
        ("127.0.0.1", "::", False),  # SGLang's IPv6 socket is for IPv6 alone
        ("::", "0.0.0.0", False),
        ("::", "::1", False),
    ],
)
def test_ipv4_and_ipv6_do_not_take_from_each_other(theirs: str, ours: str, takes: bool) -> None:
    assert listener._takes_from(theirs, ours) is takes


def test_an_address_is_compared_as_what_it_is() -> None:
    assert listener._plain("::ffff:127.0.0.1") == "127.0.0.1"
    assert listener._plain("fe80::1%eth0") == "fe80::1"
    assert listener._plain("::1") == "::1"


def test_a_name_that_nobody_knows_stands_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "addresses_of", lambda _: ())
    with serving("127.0.0.1") as (_, port):
        assert strangers({os.getpid()}, "nobody.invalid", port) == []
