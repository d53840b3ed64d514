"""Which processes there are and who started whom, from /proc alone."""

from __future__ import annotations

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
                # The command's name, in brackets, may hold anything (proc(5)).
                stat = (folder / "stat").read_bytes().rpartition(b")")[2]
                found[int(folder.name)] = int(stat.split()[1])
    return found


def below(root: int) -> Iterator[int]:
    """Yield the processes that one has started, directly or not."""
    of = parents()
    level = {root}
    while level := {pid for pid, parent in of.items() if parent in level}:
        yield from level
