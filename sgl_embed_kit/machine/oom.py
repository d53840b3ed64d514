"""Whether the kernel ended processes for want of memory: its counters, and its own words.

A control group counts them, version 2 in memory.events with all groups within it, version 1
in memory.oom_control (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the
Linux kernel). The kernel's log names each; in most containers it cannot be read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sgl_embed_kit.machine.cgroup import Group
from sgl_embed_kit.machine.kernel_log import OomKill, read_oom_kills


@dataclass(frozen=True)
class OomEvent:
    """The kernel ended processes for want of memory.

    Attributes:
        killed: How many.
        limit: Bytes that their control group may hold, or None where it has no limit.
        line: The kernel's own words; empty where they cannot be read.
    """

    killed: int
    limit: int | None = None
    line: str = ""


def oom_event(before: Group, now: Group, pids: Collection[int], seconds: float) -> OomEvent | None:
    """Return what the kernel did since a server's start, or None where it did nothing to it.

    Args:
        before: The server's control group at the start, by `own_group`.
        now: The same after its end.
        pids: Its processes.
        seconds: How long ago it was started.
    """
    return judge_oom(before, now, pids, seconds, read_oom_kills() or ())


def judge_oom(
    before: Group, now: Group, pids: Collection[int], seconds: float, kills: Collection[OomKill]
) -> OomEvent | None:
    """Return what counters and the kernel's log say together, as `oom_event` does.

    In a container the log's process ids are not the server's: then the counters tell alone.
    """
    ours = [kill for kill in kills if kill.pid in pids and kill.seconds_ago <= seconds]
    counted = now.killed - before.killed
    if counted <= 0 and not ours:
        return None
    return OomEvent(
        killed=max(counted, len(ours)),
        limit=now.memory_limit,
        line=ours[-1].line if ours else "",
    )
