"""What a container may really use: memory and processors, from Linux's control groups.

Version 2 has one tree (memory.max, cpu.max), version 1 one for each controller; a group
and all those above it limit what is in it. Documentation/admin-guide/cgroup-v2.rst and
cgroup-v1/memory.rst of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
NO_LIMIT = 2**60
"""Version 1 writes a number near 2**63 where there is no limit."""


@dataclass(frozen=True)
class Group:
    """Limits that hold for this process; None where there is none.

    Attributes:
        memory_limit: Bytes that the tightest of the groups may use.
        memory_free: Bytes that can still be had of it; the page cache can be taken back.
        cpus: Processors' worth of time, such as 1.5.
        killed: Processes that the kernel has ended because they took more.
    """

    memory_limit: int | None = None
    memory_free: int | None = None
    cpus: float | None = None
    killed: int = 0


def own_group(root: Path = ROOT, membership: Path = MEMBERSHIP) -> Group:
    """Return the limits of this process's control groups; none where it has none."""
    memory = list(_memory(root, membership))
    quotas = list(_quotas(root, membership))
    return Group(
        memory_limit=min((limit for limit, _ in memory), default=None),
        memory_free=min((free for _, free in memory), default=None),
        cpus=min(quotas, default=None),
        killed=_killed(root, membership),
    )


def _memory(root: Path, membership: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and what is free of it, of each group that limits memory."""
    for folder in _groups(root, membership, "memory"):
        for limit_name, usage_name, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = _number(folder / limit_name), _number(folder / usage_name)
            if limit is not None and usage is not None and limit < NO_LIMIT:
                used = usage - _statistic(folder / "memory.stat", cache)
                yield limit, max(0, limit - used)


def _killed(root: Path, membership: Path) -> int:
    """Return how many processes of the own group, or of one within it, were ended."""
    group = next(_groups(root, membership, "memory"), root)
    files = (group / "memory.events", group / "memory.oom_control")
    return max(_statistic(file, "oom_kill") for file in files)


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    for folder in _groups(root, membership, "cpu"):
        both = _words(folder / "cpu.max")  # "150000 100000", or "max 100000"
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if len(both) == 2 and both[0].isdigit() and both[1].isdigit():  # noqa: PLR2004
            quota, period = int(both[0]), int(both[1])
        if quota is not None and quota > 0 and period:
            yield quota / period


def _groups(root: Path, membership: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of those above it.

    A container often sees only its own part of the tree, mounted as if it were the root:
    then the path in /proc/self/cgroup leads nowhere, and the root itself is the group.
    """
    for line in _text(membership).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / controllers if controllers else root
        group = mount / path.strip("/")
        while not group.is_dir() and group != mount:
            group = group.parent
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(mount))


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _statistic(file: Path, name: str) -> int:
    for line in _text(file).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
