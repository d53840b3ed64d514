"""Tell whoever supervises the launcher: systemd, s6, or a script that waits for a file."""

from __future__ import annotations

import json
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from sgl_embed_kit.errors import UsageError
from sgl_embed_kit.launch.events import (
    Event,
    OnEvent,
    PhaseBegan,
    Ready,
    Restarting,
    Stopping,
)

NOTIFY_SOCKET = "NOTIFY_SOCKET"
SYSTEMD_VARIABLES = (NOTIFY_SOCKET, "WATCHDOG_PID", "WATCHDOG_USEC")
"""What systemd tells the launcher and nobody else: the server must not inherit it, because a
library in it could then say that the service is ready, or alive."""

MARGIN = 30.0
"""Seconds that systemd waits longer than the launcher does, which can say why."""
SEND_SECONDS = 1.0
"""Longest that a message waits where the manager's queue is full."""


class Systemd:
    """The service manager's socket, as sd_notify(3) describes it; silent without one.

    A message that cannot be sent is lost: a server is worth more than its supervisor.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        """Take what the service manager has put into the environment.

        Args:
            address: The value of $NOTIFY_SOCKET: a path, or `@` and an abstract name.
            watchdog_seconds: The unit's `WatchdogSec`; None where it has none.
        """
        self._address = address
        self._beat_seconds = None if watchdog_seconds is None else watchdog_seconds / 2
        self._beat_at = -math.inf

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Systemd:
        """Return the socket that an environment names, and the watchdog's time."""
        limit, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        seconds = int(limit) / 1e6 if limit.isdecimal() and is_ours else None
        return cls(environment.get(NOTIFY_SOCKET), seconds)

    def ready(self) -> None:
        """Say that the service is up, and that this process is its main one."""
        self._send("READY=1", f"MAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """Show a line in `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def extend(self, seconds: float) -> None:
        """Ask for so much more time from now on, to start or to stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def stopping(self) -> None:
        """Say that the service goes down."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Say that the service is well, twice in the time of the unit's `WatchdogSec`.

        Half the time is what sd_watchdog_enabled(3) recommends; more calls send nothing.
        """
        now = time.monotonic()
        if self._beat_seconds is not None and now - self._beat_at >= self._beat_seconds:
            self._beat_at = now
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address or self._address[0] not in "/@":
            return
        address = self._address.encode()
        if address.startswith(b"@"):
            address = b"\0" + address[1:]
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(SEND_SECONDS)
            datagrams.sendto("\n".join(lines).encode(), address)


class ReadyFd:
    """A file descriptor that gets a newline and is closed, as s6 wants it."""

    def __init__(self, number: int) -> None:
        """Take a descriptor that this process has inherited.

        Raises:
            UsageError: there is none of this number that can be written.
        """
        self._number: int | None = number
        try:
            # What Python opens itself is never inheritable (PEP 446): that is no gift.
            is_given = os.get_inheritable(number)
            os.write(number, b"")
        except OSError:
            is_given = False
        if not is_given:
            raise UsageError(
                f"There is no file descriptor {number} to write to.",
                why="Whoever starts sgl-embed has to open it.",
                cure=f"sgl-embed launch PROFILE --ready-fd {number} {number}>FILE",
            )
        os.set_inheritable(number, False)

    def ready(self) -> None:
        """Say so; once."""
        if self._number is None:
            return
        with suppress(OSError):  # the reader may be gone
            os.write(self._number, b"\n")
        with suppress(OSError):
            os.close(self._number)
        self._number = None


class ReadyFile:
    """A file that is there for as long as the server is ready."""

    def __init__(self, path: Path) -> None:
        """Take the path, and remove what a killed launcher may have left there.

        Raises:
            UsageError: it cannot be written, or holds something else.
        """
        self._path = path.absolute()
        try:
            if self._path.exists() and not self._is_of_a_launcher():
                raise FileExistsError(None, "there is another file of this name")
            self._write({})  # so that it does not fail once a model has been loaded
            self._path.unlink()
        except OSError as error:
            raise UsageError(
                f"The ready file {path} cannot be written.",
                why=error.strerror or str(error),
                cure="sgl-embed launch PROFILE --ready-file /a/folder/you/own/ready.json",
            ) from error

    def ready(self, event: Ready) -> None:
        """Write the file, as a whole or not at all."""
        with suppress(OSError):
            self._write({"url": event.url, "model": event.model, "pid": event.pid})

    def remove(self) -> None:
        """Remove it; where there is none, nothing happens."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _is_of_a_launcher(self) -> bool:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError:
            return False
        return isinstance(content, dict) and set(content) <= {"url", "model", "pid"}

    def _write(self, content: Mapping[str, object]) -> None:
        number, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                os.fchmod(number, 0o644)
                file.write(f"{json.dumps(content)}\n")
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


class Supervisors:
    """All who are told of a server's life."""

    def __init__(
        self,
        systemd: Systemd,
        *,
        fd: ReadyFd | None = None,
        file: ReadyFile | None = None,
    ) -> None:
        self.systemd, self._fd, self._file = systemd, fd, file

    def working(self, label: str, seconds: float) -> None:
        """Say what is being done, and how long that may take."""
        self.systemd.status(f"{label} ...")
        self.systemd.extend(seconds + MARGIN)

    def follower(self, limit: float) -> OnEvent:
        """Return who is to be told of a server's events.

        Args:
            limit: Seconds that its start may take.
        """
        return partial(self._follow, limit)

    def end(self) -> None:
        """Say that the server is not ready any more, however that came about."""
        self.systemd.stopping()
        self._remove_file()

    def _follow(self, limit: float, event: Event) -> None:
        match event:
            case PhaseBegan(phase):
                self.working(phase.label, limit)
            case Restarting():
                self._remove_file()
                self.systemd.status(f"{event.what} It is started again.")
            case Ready():
                self.systemd.status(f"Serving {event.model} at {event.url}")
                self.systemd.ready()
                if self._fd is not None:
                    self._fd.ready()
                if self._file is not None:
                    self._file.ready(event)
            case Stopping(seconds):
                self.end()
                self.systemd.extend(seconds + MARGIN)

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.remove()


@contextmanager
def supervisors(
    environment: Mapping[str, str], *, fd: int | None = None, file: Path | None = None
) -> Iterator[Supervisors]:
    """Yield who is to be told of a server's life; whatever happens, they hear of its end.

    Args:
        environment: Names systemd's socket.
        fd: Descriptor for s6's readiness notification.
        file: Path of a file that is there while the server is ready.

    Raises:
        UsageError: descriptor or file cannot be written.
    """
    told = Supervisors(
        Systemd.of(environment),
        fd=None if fd is None else ReadyFd(fd),
        file=None if file is None else ReadyFile(file),
    )
    try:
        yield told
    finally:
        told.end()
