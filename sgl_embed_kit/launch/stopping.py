"""Stop a server from outside: ask its launcher, wait while it drains, then end the whole tree."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.process_id import ProcessId, tree_of

POLL_SECONDS = 0.2
MARGIN_SECONDS = 10.0
"""Beyond the drain limit: the launcher itself kills what is left then, and waits for its end."""
ORPHAN_SECONDS = 5.0
"""What children of a server that has ended may still take; SGLang ends them itself."""
DEATH_SECONDS = 5.0
"""After which a killed process that is still there is stuck in the kernel."""
HALT_SECONDS = 5.0
"""After which a tree that grows faster than it can be halted is killed as far as it is known."""

OnWait = Callable[[float], None]
"""Called a few times a second with how long was waited."""


@dataclass(frozen=True)
class Ended:
    """How a server came to its end.

    Attributes:
        seconds: What it took.
        killed: Ids of processes that had to be killed.
        left: Ids of those that even so are still there.
    """

    seconds: float
    killed: tuple[int, ...] = ()
    left: tuple[int, ...] = ()


def limit_of(record: ServerRecord) -> float:
    """Return the seconds after which a server that was asked to end is killed."""
    return record.drain_seconds + MARGIN_SECONDS


def stop_server(record: ServerRecord, limit: float, on_wait: OnWait) -> Ended:
    """Stop a server; return when nothing is left of it.

    Its launcher is asked where that listens to SIGTERM, so that the server drains and is not
    started again; else, as for a program that only uses the toolkit, the server itself.

    Args:
        record: The server.
        limit: Seconds after which all of it is killed.
        on_wait: Told how long it takes so far.
    """
    began = time.monotonic()
    tree = _Tree(record.server)
    asked = _whom_to_ask(record)
    tree.look()
    asked.send(signal.SIGTERM)
    limit_now = limit
    while True:
        waited = time.monotonic() - began
        has_server = record.server is not None and record.server.is_running()
        if has_server and not asked.is_running():  # the launcher died of it, and left the server
            asked = record.server or asked
            asked.send(signal.SIGTERM)
        is_led = has_server or asked.is_running()
        if not tree.look() and not is_led:
            return Ended(waited)
        if not is_led:
            limit_now = min(limit_now, waited + ORPHAN_SECONDS)
        if waited >= limit_now:
            break
        on_wait(waited)
        time.sleep(POLL_SECONDS)
    # The launcher first, so that it starts nothing anew.
    killed = tree.kill((asked,) if asked is record.launcher else ())
    left = _wait_for_end(killed)
    return Ended(
        time.monotonic() - began,
        tuple(one.pid for one in killed),
        tuple(one.pid for one in left),
    )


def _whom_to_ask(record: ServerRecord) -> ProcessId:
    launcher = record.launcher
    listens = launcher.is_running() and launcher.catches(signal.SIGTERM)
    return launcher if listens or record.server is None else record.server


class _Tree:
    """A server's main process and all that it started, as far as it was ever seen."""

    def __init__(self, root: ProcessId | None) -> None:
        self._session = root.pid if root else 0  # it leads a session of its own
        self._known: list[ProcessId] = [root] if root else []

    def look(self) -> list[ProcessId]:
        """Return what runs of it now."""
        if self._known:
            self._known = tree_of(self._known, self._session)
        return self._known

    def kill(self, first: tuple[ProcessId, ...]) -> list[ProcessId]:
        """Kill other processes first, then all of it; return whom that met.

        All are halted before one is killed: what is halted starts nothing more.
        """
        killed = [one for one in first if one.send(signal.SIGKILL)]
        halted: set[ProcessId] = set()
        deadline = time.monotonic() + HALT_SECONDS
        while (new := set(self.look()) - halted) and time.monotonic() < deadline:
            for one in new:
                one.send(signal.SIGSTOP)
            halted |= new
        return killed + [one for one in halted if one.send(signal.SIGKILL)]


def _wait_for_end(processes: list[ProcessId]) -> list[ProcessId]:
    deadline = time.monotonic() + DEATH_SECONDS
    while (left := [one for one in processes if one.is_running()]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left
