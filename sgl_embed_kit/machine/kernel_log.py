"""The NVIDIA driver's own reports of trouble, Xids, in the kernel's log.

NVML has no history of them: it can only wait for the next. The log holds those since the
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


def read_xids(log: Path = KERNEL_LOG) -> tuple[Xid, ...] | None:
    """Return the driver's reports, the oldest first; None where the log cannot be read."""
    if not log.exists():
        return None
    try:
        file = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return tuple(xid for xid in map(parse_record, _records(file)) if xid is not None)
    except PermissionError:
        return None
    finally:
        os.close(file)


def parse_record(record: str) -> Xid | None:
    """Return the report that a record of /dev/kmsg is, or None for any other.

    A record is "priority,sequence,microseconds,flags;text" (Documentation/ABI/testing/dev-kmsg).
    """
    head, _, text = record.partition(";")
    found = XID.match(text)
    fields = head.split(",")
    if found is None or len(fields) < 3 or not fields[2].isdigit():  # noqa: PLR2004
        return None
    ago = time.clock_gettime(time.CLOCK_MONOTONIC) - int(fields[2]) / 1e6
    return Xid(int(found[2]), found[1].lower(), max(0.0, ago))


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
