"""The kernel's log: the NVIDIA driver's reports of trouble (Xids), and ends for want of memory.

NVML has no history of Xids: it can only wait for the next. The log holds what was since the
start of the machine, as far as it reaches; in most containers it cannot be read.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sgl_embed_kit.data_files import data_file

KERNEL_LOG = Path("/dev/kmsg")
RECORD = 8192
"""Longest record of /dev/kmsg (LOG_LINE_MAX and PREFIX_MAX of the Linux kernel's printk)."""
OOM_KILL = re.compile(r"(?i)out of memory: Killed process (\d+) \(")
XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9A-Fa-f:]+)\): (\d+)")


@dataclass(frozen=True)
class Xid:
    """A report of the driver.

    Attributes:
        number: What happened, by NVIDIA's numbers.
        bus: The GPU's address on the PCI bus, such as "0000:65:00".
        seconds_ago: How long ago.
    """

    number: int
    bus: str
    seconds_ago: float


@dataclass(frozen=True)
class OomKill:
    """The kernel ended a process for want of memory.

    Attributes:
        pid: The process, as the machine counts, not a container.
        line: What the kernel wrote.
        seconds_ago: How long ago.
    """

    pid: int
    line: str
    seconds_ago: float


def read_xids(log: Path = KERNEL_LOG) -> tuple[Xid, ...] | None:
    """Return the driver's reports, the oldest first; None where the log cannot be read."""
    records = _read(log)
    if records is None:
        return None
    return tuple(xid for xid in map(parse_record, records) if xid is not None)


def read_oom_kills(log: Path = KERNEL_LOG) -> tuple[OomKill, ...] | None:
    """Return the ends for want of memory, the oldest first; None where it cannot be read."""
    records = _read(log)
    if records is None:
        return None
    return tuple(kill for kill in map(parse_oom_kill, records) if kill is not None)


def _read(log: Path) -> list[str] | None:
    if not log.exists():
        return None
    try:
        file = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return _records(file)
    except PermissionError:
        return None
    finally:
        os.close(file)


def parse_record(record: str) -> Xid | None:
    """Return the report that a record of /dev/kmsg is, or None for any other.

    A record is "priority,sequence,microseconds,flags;text" (Documentation/ABI/testing/dev-kmsg).
    """
    ago, text = _split(record)
    found = XID.match(text)
    return Xid(int(found[2]), found[1].lower(), ago) if found and ago is not None else None


def parse_oom_kill(record: str) -> OomKill | None:
    """Return the end for want of memory that a record of /dev/kmsg tells, or None.

    The text is "Memory cgroup out of memory: Killed process 5034 (python) total-vm:…", or
    without its first two words where the whole machine was (mm/oom_kill.c).
    """
    ago, text = _split(record)
    found = OOM_KILL.search(text)
    if found is None or ago is None:
        return None
    return OomKill(int(found[1]), text.splitlines()[0], ago)


def _split(record: str) -> tuple[float | None, str]:
    """Return how long ago a record was written, and its text."""
    head, _, text = record.partition(";")
    fields = head.split(",")
    if len(fields) < 3 or not fields[2].isdigit():  # noqa: PLR2004
        return None, text
    ago = time.clock_gettime(time.CLOCK_MONOTONIC) - int(fields[2]) / 1e6
    return max(0.0, ago), text


def _records(file: int) -> list[str]:
    records: list[str] = []
    while True:
        try:
            record = os.read(file, RECORD)
        except BrokenPipeError:  # overwritten while it was read: the next one is newer
            continue
        except BlockingIOError:
            return records
        if not record:
            return records
        records.append(record.decode(errors="replace"))


@cache
def hardware_xids() -> dict[int, str]:
    """Return what the Xids mean that speak of the GPU itself, not of a program."""
    return {
        int(number): str(meaning) for number, meaning in data_file(__package__, "xids.yaml").items()
    }
