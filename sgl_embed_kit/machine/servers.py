"""Servers that this toolkit runs on this machine: a small file for each, while it runs.

A record may be older than the last boot, or of another machine or container that shares the
folder: it says where its processes are, and nothing is believed of it but what /proc bears out.
"""

from __future__ import annotations

import json
import platform
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import state_folder
from sgl_embed_kit.machine import private_folder
from sgl_embed_kit.machine.ports import addresses_of
from sgl_embed_kit.machine.private_folder import PrivateFolder
from sgl_embed_kit.machine.process_id import ProcessId

FOLDER = "servers"
READY = "ready"
_RECORD = re.compile(r"\d+-[0-9a-f]{8}\.json")
_WILDCARDS = {"0.0.0.0": False, "::": True}  # noqa: S104 - compared, not bound
"""Addresses that stand for all of a machine's, and whether they are IPv6's."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Place:
    """Where a process id means something.

    Attributes:
        node: The machine's name, or the container's.
        boot: Which boot of the machine's kernel.
        namespace: Which of its tables of process ids; containers have their own.
    """

    node: str
    boot: str
    namespace: int

    @classmethod
    def here(cls) -> Place:
        """Return this process's."""
        try:
            boot = _BOOT_ID.read_text(encoding="ascii").strip()
            return cls(platform.node(), boot, _NAMESPACE.stat().st_ino)
        except OSError:  # not Linux, or a sandbox without them
            return cls(platform.node(), "", 0)


@dataclass(frozen=True)
class ServerRecord:
    """A server that runs, or is about to.

    Attributes:
        launcher: The process that starts and stops it.
        server: Its main process; None while there is none.
        place: Where both are.
        host: Where it listens.
        port: On which port.
        url: Its address for clients on this machine.
        name: Its served model name.
        model: The profile's `model.path`.
        profile: The profile's name; empty for none.
        log: Its log file.
        drain_seconds: How long it may take to answer its last requests.
        phase: What it is doing, for people; `READY` once an embedding came back.
        ready_after: Seconds from its start to its first embedding; None before.
        restarts: How often it was started again.
    """

    launcher: ProcessId
    server: ProcessId | None
    place: Place
    host: str
    port: int
    url: str
    name: str
    model: str
    profile: str = ""
    log: str = ""
    drain_seconds: float = 30.0
    phase: str = ""
    ready_after: float | None = None
    restarts: int = 0

    @property
    def pid(self) -> int | None:
        """Id of the server's main process; None while there is none."""
        return self.server.pid if self.server else None

    @property
    def processes(self) -> tuple[ProcessId, ...]:
        """The launcher, and the server while there is one."""
        return (self.launcher, self.server) if self.server else (self.launcher,)

    @property
    def is_running(self) -> bool:
        """Whether its launcher or its server runs, seen from where both are."""
        return any(process.is_running() for process in self.processes)

    @property
    def uptime(self) -> float:
        """Seconds since the server started; the launcher's while there is none."""
        return (self.server or self.launcher).age()

    @property
    def since(self) -> datetime:
        """When the server started, by this machine's clock and zone."""
        return datetime.now().astimezone() - timedelta(seconds=self.uptime)


class AlreadyRunsError(KitError):
    """A server of ours has the address that another is to have."""

    def __init__(self, other: ServerRecord) -> None:
        name = other.profile or other.name
        process = f"pid {other.pid}" if other.pid else f"launcher's pid {other.launcher.pid}"
        super().__init__(
            f"{name} runs already at {other.url} ({process}).",
            why=f"It was started at {other.since:%Y-%m-%d %H:%M}, and its state is: "
            f"{other.phase or 'starting'}. `sgl-embed status` tells more.",
            cure=f"sgl-embed stop {other.port}",
        )


class Registration:
    """A server's record, kept up to date by the launcher that wrote it."""

    def __init__(self, record: ServerRecord, file: str) -> None:
        self.record = record
        self._file = file

    def update(self, **changes: Any) -> None:
        """Change what the record says, as `dataclasses.replace` does.

        It is a help, not a need: on a full disk the server runs all the same.
        """
        self.record = replace(self.record, **changes)
        with suppress(OSError, KitError), _folder(make=True) as folder, folder.locked():
            folder.write(self._file, _as_json(self.record))

    def remove(self) -> None:
        """Forget the server."""
        with suppress(OSError, KitError), _folder(make=False) as folder:
            folder.remove(self._file)


@contextmanager
def registered(record: ServerRecord) -> Iterator[Registration]:
    """Keep a record while the block runs, of a server that has yet to be started.

    Of two launchers that want one address, one gets it.

    Raises:
        AlreadyRunsError: a server of ours has its address.
        PlantedError: the folder for records is not this user's alone.
    """
    file = f"{record.launcher.pid}-{secrets.token_hex(4)}.json"
    with suppress(OSError), _folder(make=True) as folder, folder.locked():
        _refuse_second(_read(folder), record)
        folder.write(file, _as_json(record))
    registration = Registration(record, file)
    try:
        yield registration
    finally:
        registration.remove()


def recorded_servers() -> tuple[ServerRecord, ...]:
    """Return this user's servers that run here; remove the records of those that do not.

    Raises:
        PlantedError: the folder for records is not this user's alone.
    """
    if sys.platform != "linux":
        return ()
    try:
        with _folder(make=False) as folder, folder.locked():
            return tuple(_read(folder))
    except OSError:  # there is no folder, or it cannot be read: then no record either
        return ()


def running_servers() -> tuple[ServerRecord, ...]:
    """Return what `recorded_servers` does, and none where their folder is not to be trusted."""
    try:
        return recorded_servers()
    except KitError:
        return ()


def mend_folder() -> str:
    """Close the folder for records to others; return a sentence if it was open, else nothing.

    Raises:
        PlantedError: it is a link or another user's.
    """
    return private_folder.mend(state_folder(), FOLDER) if sys.platform == "linux" else ""


def _refuse_second(servers: Iterable[ServerRecord], record: ServerRecord) -> None:
    for one in servers:
        if one.port == record.port and _meet(one.host, record.host):
            raise AlreadyRunsError(one)


def _read(folder: PrivateFolder) -> Iterator[ServerRecord]:
    here = Place.here()
    for name in folder.names():
        if not _RECORD.fullmatch(name):
            continue
        record = _of_json(folder.read(name))
        if record is not None and record.place.boot != here.boot and record.place.node != here.node:
            continue  # of another machine with the same home
        if record is not None and record.place.boot == here.boot:
            if record.place.namespace != here.namespace:
                continue  # of a container; its ids mean nothing here
            if record.is_running:
                yield record
                continue
        folder.remove(name)


def _as_json(record: ServerRecord) -> bytes:
    return json.dumps(asdict(record)).encode("ascii")


def _of_json(content: bytes | None) -> ServerRecord | None:
    import msgspec  # late: most machines run no server

    try:
        return msgspec.convert(json.loads(content or b""), ServerRecord)
    except (ValueError, RecursionError):
        return None


def _meet(one: str, other: str) -> bool:
    """Whether two hosts stand for a common address of this machine."""
    if one == other:
        return True
    ours, theirs = addresses_of(one), addresses_of(other)
    for a, b in ((a, b) for a in ours for b in theirs):
        if a == b or _WILDCARDS.get(a) is (":" in b) or _WILDCARDS.get(b) is (":" in a):
            return True
    return False


def _folder(*, make: bool) -> Any:
    return private_folder.private_folder(state_folder(), FOLDER, make=make)
