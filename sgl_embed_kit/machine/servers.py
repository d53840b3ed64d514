"""Servers that this toolkit runs on this machine: a small file for each, while it runs.

A file is named after its server's process id and removed when the server ends. One that a
killed launcher left behind is told by the start time in it: ids of processes come again.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sgl_embed_kit.folders import state_folder

PROC = Path("/proc")
START_TIME = 19
"""Fields after the command's name before the start time in /proc/PID/stat (proc(5), 22)."""


@dataclass(frozen=True)
class ServerRecord:
    """A server that runs.

    Attributes:
        pid: Id of its main process.
        started: Its start, in the kernel's clock ticks since the machine's.
        host: Where it listens.
        port: On which port.
        name: Its served model name.
        model: The profile's `model.path`.
        log: Its log file.
    """

    pid: int
    started: int
    host: str
    port: int
    name: str
    model: str
    log: str


def remember(record: ServerRecord) -> None:
    """Write a server's record.

    It is a help, not a need: a server whose record cannot be written runs all the same.
    """
    file = _file(record)
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(asdict(record), out)
        partial.replace(file)


def forget(record: ServerRecord) -> None:
    """Remove the record of a server that has ended."""
    with suppress(OSError):
        _file(record).unlink(missing_ok=True)


def running_servers() -> tuple[ServerRecord, ...]:
    """Return the servers of this user that run, and remove what others left behind."""
    found = []
    for file in sorted(_folder().glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            record = ServerRecord(**json.loads(file.read_text(encoding="utf-8")))
            if started_at(record.pid) == record.started:
                found.append(record)
            else:
                file.unlink(missing_ok=True)
    return tuple(found)


def started_at(pid: int, proc: Path = PROC) -> int | None:
    """Return when a process started, in clock ticks; None where it does not run any more."""
    try:
        text = (proc / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, *rest = text.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else int(rest[START_TIME - 1])


def _file(record: ServerRecord) -> Path:
    return _folder() / f"{record.pid}.json"


def _folder() -> Path:
    return state_folder() / "servers"
