"""The log file of one server: private, bounded, and never a reason for the server to wait or end.

Where it cannot be written, what is lost is counted, and writing is tried again later.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

LARGEST_FILE = 64 << 20
"""Bytes of one file. SGLang prints some 300 a request: 200 thousand requests, and still
opened by every editor."""
KEPT_FILES = 4
"""Files of one server, the one that is written among them: 256 MB at most, which the smallest
of root disks can bear, and the start of a day's trouble is still there in the evening."""
RETRY_SECONDS = 30.0
"""Between two tries to write where it failed: a full disk is rarely emptied sooner."""
CHECK_SECONDS = 5.0
"""Between two looks whether the file is still where it was."""


class LogFile:
    """A file that is written in whole lines, and starts anew once it is large.

    `X.log` is the newest, `X.log.1` the one before it, and so on. All methods but
    `new_troubles` are for one thread.

    Attributes:
        path: The newest.
    """

    def __init__(
        self,
        path: Path,
        *,
        largest: int = LARGEST_FILE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the file; where that fails, it is tried again like any writing."""
        self.path = path
        self._largest = largest
        self._clock = clock
        self._file: int | None = None
        self._size = 0
        self._lost = 0
        self._failed: tuple[float, str] | None = None
        self._looked = clock()
        self._troubles: deque[str] = deque()
        self.write(b"")

    def write(self, lines: bytes) -> None:
        """Append whole lines, or count them as lost; never raises an OSError."""
        now = self._clock()
        if self._failed is not None and now < self._failed[0] + RETRY_SECONDS:
            self._lost += len(lines)
            return
        left = len(lines)
        try:
            self._look(now)
            if self._file is None:
                self._open()
            elif self._size and self._size + len(lines) > self._largest:
                self._rotate()
            self._mark_gap()
            while left:
                left -= self._write(lines[-left:])
        except OSError as error:
            self._fail(error.strerror or str(error), now, lost=left)

    def new_troubles(self) -> Iterator[str]:
        """Yield why the log cannot be written, or was interrupted, once for each time."""
        while self._troubles:
            yield self._troubles.popleft()

    def close(self) -> None:
        """Close the file; more writing would open it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        self.close()
        files = [self.path, *(numbered(self.path, n) for n in range(1, KEPT_FILES))]
        for older, newer in zip(reversed(files), reversed(files[:-1]), strict=False):
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._open()

    def _write(self, data: bytes) -> int:
        assert self._file is not None
        written = os.write(self._file, data)
        self._size += written
        return written

    def _look(self, now: float) -> None:
        """Let go of a file that was removed or moved away, so that another is made."""
        if self._file is None or now < self._looked + CHECK_SECONDS:
            return
        self._looked = now
        try:
            is_there = os.path.samestat(self.path.lstat(), os.fstat(self._file))
        except FileNotFoundError:
            is_there = False
        if not is_there:
            self.close()
            self._open()
            self._troubles.append("it was removed or moved away; it goes on in a new file")

    def _mark_gap(self) -> None:
        """Say where lines are missing, once writing works again."""
        if self._failed is None:
            return
        mark = f"\n[sgl-embed: {self._lost} bytes are missing here: {self._failed[1]}]\n"
        data = mark.encode()
        while data:
            data = data[self._write(data) :]
        self._failed, self._lost = None, 0

    def _fail(self, why: str, now: float, *, lost: int) -> None:
        if self._failed is None:
            self._troubles.append(why)
        self._failed = (now, why)
        self._lost += lost


def numbered(path: Path, number: int) -> Path:
    """Return the name of an older part of a log; 1 is the one before the newest."""
    return path.with_name(f"{path.name}.{number}")
