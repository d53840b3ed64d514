"""Ports of the real machine, held by real sockets and processes."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sgl_embed_kit.machine import PortRules, RealMachine
from sgl_embed_kit.machine.ports import addresses_of, port_rules, port_use

LISTEN = """
import socket, sys
held = socket.create_server(("127.0.0.1", 0))
print(held.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def held() -> Iterator[tuple[int, int]]:
    """A port that another process listens on, and the process's id."""
    command = [sys.executable, "-c", LISTEN, "--api-key", "abc"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
        process.kill()


def test_the_process_that_listens_is_named_with_its_whole_command(held: tuple[int, int]) -> None:
    port, pid = held
    use = port_use("127.0.0.1", port)
    assert use is not None
    assert (use.pid, use.is_busy, use.is_listened_on) == (pid, True, True)
    assert use.command is not None
    assert use.command[-2:] == ("--api-key", "abc")


def test_the_loopbacks_port_is_held_for_every_address_too(held: tuple[int, int]) -> None:
    use = port_use("0.0.0.0", held[0])
    assert use is not None
    assert use.pid == held[1]


def test_a_port_that_an_outgoing_connection_has_is_held_by_no_server() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()[:2]) as client,
    ):
        use = port_use("127.0.0.1", client.getsockname()[1])
    assert use is not None
    assert (use.pid, use.is_busy, use.is_listened_on) == (os.getpid(), True, False)


def test_of_a_server_and_its_connections_it_is_the_server_that_has_the_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()[:2]),
        server.accept()[0],
    ):
        use = port_use("127.0.0.1", server.getsockname()[1])
    assert use is not None
    assert (use.pid, use.is_listened_on) == (os.getpid(), True)


def test_ipv6_and_ipv4_are_had_each_for_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_use("::1", port) is None
        assert port_use("::", port) is None


def test_every_address_of_a_name_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def both(host: str, *arguments: object, **options: object) -> object:
        hosts = ("127.0.0.1", "::1") if host == "both" else (host,)
        return [info for one in hosts for info in real(one, *arguments, **options)]  # type: ignore[arg-type]

    with socket.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", both)
        assert port_use("127.0.0.1", port) is None
        use = port_use("both", port)
    assert use is not None
    assert use.is_busy


@pytest.mark.parametrize("host", ["no-such-host.invalid", "[::1]", "a" * 300, "x\udcff"])
def test_what_is_no_address_is_no_busy_port(host: str) -> None:
    use = port_use(host, 30000)
    assert use is not None
    assert use.reason
    assert not use.is_busy
    assert addresses_of(host) == ()


def test_an_address_of_another_machine_is_told_from_a_busy_port() -> None:
    use = port_use("192.0.2.1", 30000)
    assert use is not None
    assert (use.code, use.is_busy) == (errno.EADDRNOTAVAIL, False)


def test_a_holder_that_the_system_does_not_tell_is_left_out(
    held: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(kind: str) -> list[object]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    use = port_use("127.0.0.1", held[0])
    assert use is not None
    assert (use.pid, use.command, use.is_busy) == (None, None, True)


def test_names_stand_for_addresses() -> None:
    assert "127.0.0.1" in addresses_of("localhost")
    assert addresses_of("127.0.0.1") == ("127.0.0.1",)
    assert addresses_of("::1") == ("::1",)


def system(folder: Path, **files: str) -> PortRules | None:
    for name, text in files.items():
        (folder / name).write_text(text)
    return port_rules(folder)


def test_the_systems_rules_are_read(tmp_path: Path) -> None:
    assert system(
        tmp_path,
        ip_local_port_range="1024\t65535\n",
        ip_local_reserved_ports="8080,30000-30002\n",
        ip_unprivileged_port_start="80\n",
    ) == PortRules(range(1024, 65536), frozenset({8080, 30000, 30001, 30002}), 80)


def test_rules_that_are_not_told_are_linuxs_own(tmp_path: Path) -> None:
    assert port_rules(tmp_path) is None
    range_alone = system(tmp_path, ip_local_port_range="32768\t60999\n")
    assert range_alone == PortRules(range(32768, 61000), frozenset(), 1024)


def test_this_machines_rules_are_what_it_does() -> None:
    rules = RealMachine().port_rules()
    assert rules is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in rules.outgoing
