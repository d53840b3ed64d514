"""Which running server somebody means by a name, a profile, a port or a process id."""

from __future__ import annotations

from collections.abc import Sequence

from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.machine import ServerRecord


class NotRunningError(KitError):
    """No server of ours that runs is called so."""


def named(servers: Sequence[ServerRecord], name: str) -> list[ServerRecord]:
    """Return the servers with a served name, profile, port or process id.

    Raises:
        NotRunningError: there is none.
    """
    found = [one for one in servers if name in _names(one)]
    if not found:
        running = ", ".join(f"{one.name} (port {one.port})" for one in servers)
        raise NotRunningError(
            f"No server {name!r} runs here.",
            why=f"What runs: {running}." if running else "None that this toolkit started does.",
            cure="sgl-embed status",
        )
    return found


def the_one(servers: Sequence[ServerRecord], name: str, verb: str) -> ServerRecord:
    """Return the server that somebody means.

    Args:
        servers: Those that run.
        name: A served name, profile, port or process id.
        verb: The command that is to be proposed, such as "stop".

    Raises:
        NotRunningError: none is called so.
        UsageError: several are.
    """
    found = named(servers, name)
    if len(found) > 1:
        told = "\n".join(
            f"port {one.port}: {one.name}"
            + (f" by {one.profile}" if one.profile else "")
            + f" (pid {one.pid or one.launcher.pid})"
            for one in found
        )
        raise UsageError(
            f"{len(found)} servers are called {name!r}; nothing was done.",
            why=told,
            cure=f"sgl-embed {verb} {_own_name(found[0], servers)}",
        )
    return found[0]


def _names(record: ServerRecord) -> set[str]:
    pids = {str(process.pid) for process in record.processes}
    return {record.name, record.profile, str(record.port), *pids} - {""}


def _own_name(record: ServerRecord, servers: Sequence[ServerRecord]) -> str:
    """Return a name that no other server has; its own process is its alone."""
    others = set().union(*(_names(one) for one in servers if one is not record))
    candidates = (str(record.port), *(str(process.pid) for process in record.processes))
    return next((name for name in candidates if name not in others), str(record.port))
