"""Ports of this machine: whether one can be listened on, and who has it if not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sgl_embed_kit.machine.containers import container_of

SYSTEM = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True)
class PortUse:
    """Why a port cannot be listened on; None where the system does not tell.

    Attributes:
        reason: The system's words.
        pid: Id of the process that has it.
        command: That process's command, as it was started: it may hold keys.
        container: That process's container, such as "docker 0123456789ab".
        is_listened_on: Whether a server has it; else it is the end of a connection.
        code: The system's number of the reason (errno).
    """

    reason: str
    pid: int | None = None
    command: tuple[str, ...] | None = None
    container: str | None = None
    is_listened_on: bool = True
    code: int | None = errno.EADDRINUSE

    @property
    def is_busy(self) -> bool:
        """Whether somebody has the port; else the address is wrong, or a right is missing."""
        return self.code == errno.EADDRINUSE


@dataclass(frozen=True)
class PortRules:
    """Which ports the system treats in a way of its own.

    Attributes:
        outgoing: Ports that it gives to outgoing connections (ip_local_port_range).
        reserved: Those of them that it never gives (ip_local_reserved_ports).
        first_free: The first port that needs no privilege (ip_unprivileged_port_start).
    """

    outgoing: range = range(32768, 61000)
    reserved: frozenset[int] = frozenset()
    first_free: int = 1024


def addresses_of(host: str) -> tuple[str, ...]:
    """Return the addresses that a host's name stands for, in the resolver's order."""
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in infos))


def port_use(host: str, port: int) -> PortUse | None:
    """Try to listen on a port as the server will; say who has it if that fails.

    uvicorn has uvloop's create_server listen on every address of the host, an IPv6 one for
    itself alone, and gives up where one of them cannot be had.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        return PortUse(getattr(error, "strerror", None) or str(error), code=None)
    for family, kind, protocol, _, address in infos:
        try:
            trial = socket.socket(family, kind, protocol)
        except OSError:  # the system has no IPv6: uvloop goes on without it
            continue
        with trial:
            try:
                # As uvloop does: a socket in TIME_WAIT is no obstacle.
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(address)
                trial.listen(1)
            except OSError as error:
                return _use(port, error)
    return None


def port_rules(folder: Path = SYSTEM) -> PortRules | None:
    """Return the system's rules for ports, or None where it does not tell them."""
    outgoing = [int(word) for word in _text(folder / "ip_local_port_range").split()]
    first = _text(folder / "ip_unprivileged_port_start").strip()
    if not outgoing:
        return None
    return PortRules(
        outgoing=range(outgoing[0], outgoing[-1] + 1),
        reserved=frozenset(_ports(_text(folder / "ip_local_reserved_ports"))),
        first_free=int(first) if first.isdigit() else PortRules.first_free,
    )


def _ports(text: str) -> Iterator[int]:
    """Yield the ports of a list such as "8080,9000-9002"."""
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        if low.isdigit():
            yield from range(int(low), int(high or low) + 1)


def _use(port: int, error: OSError) -> PortUse:
    reason = error.strerror or str(error)
    connection = _connection(port) if error.errno == errno.EADDRINUSE else None
    if connection is None:
        return PortUse(reason, code=error.errno)
    import psutil

    use = PortUse(reason, is_listened_on=connection.status == psutil.CONN_LISTEN)
    if not connection.pid:  # another user's
        return use
    try:
        command = tuple(psutil.Process(connection.pid).cmdline())
    except psutil.Error:
        command = ()
    return replace(
        use,
        pid=connection.pid,
        command=command or None,
        container=container_of(connection.pid),
    )


def _connection(port: int) -> Any:
    """Return psutil's record of the socket that has a port; one that listens comes first."""
    import psutil  # late: a free port needs no look at the system's sockets

    try:
        found = [one for one in psutil.net_connections(kind="tcp") if one.laddr[1:2] == (port,)]
    except (psutil.Error, OSError):
        return None
    return min(found, key=lambda one: one.status != psutil.CONN_LISTEN, default=None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
