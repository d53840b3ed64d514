"""One process, told from every other that has or will have its number, and signals to it."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
STATE, PARENT, SESSION, STARTED = 0, 1, 3, 19
"""Fields after the command's name in /proc/PID/stat (proc(5), 3, 4, 6 and 22)."""


@dataclass(frozen=True)
class ProcessId:
    """A process of this boot: ids come again, with another start and mostly another command.

    Attributes:
        pid: Its id.
        started: Its start, in the kernel's clock ticks since the machine's.
        words: How many of its last arguments are compared. 0 for one whose title changes.
        command: A hash of them: they may hold what is nobody's business.
    """

    pid: int
    started: int
    words: int
    command: str

    def is_running(self, proc: Path = PROC) -> bool:
        """Say whether this very process runs; a zombie has ended."""
        if started_at(self.pid, proc) != self.started:
            return False
        return _hash(_arguments(self.pid, proc), self.words) == self.command

    def age(self) -> float:
        """Return how long ago it started, in seconds; no matter how the clock was set."""
        ticks: int = os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / ticks)

    def catches(self, number: int, proc: Path = PROC) -> bool:
        """Say whether it has a handler for a signal (SigCgt in proc(5))."""
        with suppress(OSError, ValueError):
            for line in (
                (proc / str(self.pid) / "status").read_text("utf-8", "replace").splitlines()
            ):
                if line.startswith("SigCgt:"):
                    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
        return False

    def send(self, number: int) -> bool:
        """Send it a signal, and no other process; False where it has ended.

        A pidfd stands for the process that had the id when it was opened. Looked at after
        that, a match is either that process, or one to which the pidfd does not lead.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        except (OSError, AttributeError):  # Linux before 5.3, or forbidden
            return self._send_by_number(number)
        try:
            if not self.is_running():
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return self._send_by_number(number)
        finally:
            os.close(descriptor)
        return True

    def _send_by_number(self, number: int) -> bool:
        try:
            if not self.is_running():
                return False
            os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def process_id(
    pid: int, arguments: Sequence[str] | None = None, proc: Path = PROC
) -> ProcessId | None:
    """Return what tells a process from others; None where it does not run.

    Args:
        pid: Its id.
        arguments: The last of its arguments, for one that has yet to become the program that
            it will be; None for all that it has.
        proc: Where the kernel tells of processes.
    """
    started = started_at(pid, proc)
    if started is None:
        return None
    known = _arguments(pid, proc) if arguments is None else [*map(os.fsencode, arguments)]
    return ProcessId(pid, started, len(known), _hash(known, len(known)))


def started_at(pid: int, proc: Path = PROC) -> int | None:
    """Return when a process started, in clock ticks; None where it does not run any more."""
    fields = _stat(pid, proc)
    return None if not fields or fields[STATE] in {"Z", "X"} else int(fields[STARTED])


def tree_of(roots: Sequence[ProcessId], session: int, proc: Path = PROC) -> list[ProcessId]:
    """Return the processes that run of a tree: the roots, what they started, and their session.

    A session is only gone through while one of the roots is in it: then its number has not
    come again.

    Args:
        roots: Known members.
        session: Their session (setsid(2)).
        proc: Where the kernel tells of processes.
    """
    found = {root.pid: root for root in roots if root.is_running(proc)}
    table = {
        int(folder.name): fields
        for folder in proc.iterdir()
        if folder.name.isdecimal() and (fields := _stat(int(folder.name), proc))
    }
    number = str(session)
    is_ours = any(pid in table and table[pid][SESSION] == number for pid in found)
    grown = True
    while grown:
        grown = False
        for pid, fields in table.items():
            if pid in found or fields[STATE] in {"Z", "X"}:
                continue
            if int(fields[PARENT]) in found or (is_ours and fields[SESSION] == number):
                found[pid] = ProcessId(pid, int(fields[STARTED]), 0, _hash([], 0))
                grown = True
    return list(found.values())


def _stat(pid: int, proc: Path) -> list[str]:
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _arguments(pid: int, proc: Path) -> list[bytes]:
    try:
        line = (proc / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return line.removesuffix(b"\0").split(b"\0") if line else []


def _hash(arguments: Sequence[bytes], words: int) -> str:
    last = arguments[len(arguments) - words :] if words <= len(arguments) else ()
    return hashlib.sha256(b"\0".join(last)).hexdigest()
