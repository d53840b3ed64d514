"""Which processes there are, who started whom, and how to kill all that one has started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def parents() -> dict[int, int]:
    """Return the parent of each process that can be seen."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                found[int(folder.name)] = _parent(int(folder.name))
    return found


def below(root: int) -> Iterator[int]:
    """Yield the processes that one has started, directly or not."""
    of = parents()
    level = {root}
    while level := {pid for pid, parent in of.items() if parent in level}:
        yield from level


def kill_below(root: int) -> None:
    """Kill the processes that the caller, `root`, has started, directly or not, and no other.

    It has to be a subreaper, which the children of those that die come to.
    The id of a child is its own until it is waited for. That of a process further down may
    pass to a stranger, so it is held (pidfd_open(2)) before it is seen to be in the tree.
    """
    tree = {root, *below(root)}
    for pid in tree - {root}:
        with suppress(OSError, IndexError, ValueError):
            if _parent(pid) == root:
                os.kill(pid, signal.SIGKILL)
                continue
            held = os.pidfd_open(pid)
            try:
                if _parent(pid) in tree:
                    signal.pidfd_send_signal(held, signal.SIGKILL)
            finally:
                os.close(held)


def _parent(pid: int) -> int:
    """Return the parent of a process.

    Raises:
        OSError, IndexError, ValueError: it is gone.
    """
    # The command's name, in brackets, may hold anything (proc(5)).
    stat = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2]
    return int(stat.split()[1])
