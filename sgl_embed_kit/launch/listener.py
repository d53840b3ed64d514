"""Whose server it is that answers on a port: who listens there, who holds a connection.

That a port answers says nothing of who does. Two servers may listen on one port: on
different addresses, on IPv4 and IPv6, or on the same address with SO_REUSEPORT.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from sgl_embed_kit.machine.ports import addresses_of

WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - read, not bound


@dataclass(frozen=True)
class Listener:
    """A socket that listens.

    Attributes:
        address: Its IP address.
        pid: Id of the process that has it; None where the system does not tell.
    """

    address: str
    pid: int | None


def process_tree(pid: int) -> frozenset[int]:
    """Return the ids of a process and of everything that it started; empty without it."""
    try:
        main = psutil.Process(pid)
        return frozenset({pid, *(child.pid for child in main.children(recursive=True))})
    except psutil.NoSuchProcess:
        return frozenset()


def listens(pids: Collection[int], port: int) -> bool:
    """Say whether one of the processes listens on a port."""
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr[1:2] == (port,) for one in _sockets(pids)
    )


def holds(pids: Collection[int], port: int, client: object) -> bool:
    """Say whether one of the processes has the other end of a connection to a port.

    Args:
        pids: The processes.
        port: Their end's port.
        client: Our end, as `socket.getsockname` gives it: an address and a port at least.
    """
    match client:
        case (str(host), int(number), *_):
            ours = (_plain(host), number)
        case _:
            return False
    return any(
        one.laddr[1:2] == (port,) and one.raddr and (_plain(one.raddr[0]), one.raddr[1]) == ours
        for one in _sockets(pids)
    )


def strangers(pids: Collection[int], host: str, port: int) -> list[Listener]:
    """Return who else would be reached by clients of a server on a host and port.

    That is whoever listens on an address of the host, by itself or, where the host is every
    address of a family, on any of that family. A listener on every address takes nothing
    from one on this address alone.
    """
    wanted = {_plain(address) for address in addresses_of(host)} or {host}
    sockets: list[Any] = psutil.net_connections(kind="tcp")
    return [
        Listener(one.laddr[0], one.pid)
        for one in sockets
        if one.status == psutil.CONN_LISTEN
        and one.laddr[1] == port
        and one.pid not in pids
        and any(_takes_from(_plain(one.laddr[0]), address) for address in wanted)
    ]


def _takes_from(other: str, ours: str) -> bool:
    if other == ours:
        return True
    is_every = ours in WILDCARDS
    return is_every and ipaddress.ip_address(other).version == ipaddress.ip_address(ours).version


def _sockets(pids: Collection[int]) -> Iterator[Any]:
    for pid in pids:
        with suppress(psutil.Error):
            yield from psutil.Process(pid).net_connections(kind="tcp")


def _plain(address: str) -> str:
    """Return an address without its scope; an IPv4 one in IPv6's clothes as it is."""
    return address.partition("%")[0].removeprefix("::ffff:")
