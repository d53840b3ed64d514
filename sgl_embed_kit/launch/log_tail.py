"""The end of a log, and what is added to it, however long it is and however it is rotated.

`X.log` is the newest part, `X.log.1` the one before, and so on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

BLOCK = 64 * 1024
POLL_SECONDS = 0.2


class LogTail:
    """A log that is read from some line before its end on; of it, a block is in memory.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._file: BinaryIO = log.open("rb")

    def __enter__(self) -> LogTail:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log."""
        self._file.close()

    def last(self, lines: int) -> Iterator[bytes]:
        """Yield the last lines, in blocks of any length."""
        offset, found = _start_of_last(self._file, lines)
        earlier: list[tuple[Path, int]] = []
        for path in self._older():
            if found >= lines:
                break
            with path.open("rb") as file:
                start, more = _start_of_last(file, lines - found)
            earlier.append((path, start))
            found += more
        for path, start in reversed(earlier):
            with path.open("rb") as file:
                file.seek(start)
                yield from _blocks(file)
        self._file.seek(offset)
        yield from _blocks(self._file)

    def follow(self, is_over: Callable[[], bool]) -> Iterator[bytes]:
        """Yield what is added to the log, until nothing more will be.

        Args:
            is_over: Whether the server has ended.
        """
        while True:
            was_over = is_over()  # asked first: then its last words are in the log
            yield from _blocks(self._file)
            yield from self._moved_on()
            if was_over:
                return
            time.sleep(POLL_SECONDS)

    def _moved_on(self) -> Iterator[bytes]:
        """Go on in the log's newest part, if that is another file by now, or shorter."""
        try:
            newest = self._log.stat()
        except OSError:  # between two steps of a rotation
            return
        held = os.fstat(self._file.fileno())
        if (newest.st_dev, newest.st_ino) == (held.st_dev, held.st_ino):
            if held.st_size < self._file.tell():
                self._file.seek(0)
                yield from _blocks(self._file)
            return
        yield from _blocks(self._file)  # what came between the last look and the rotation
        for path in reversed(self._newer_than(held)):
            with path.open("rb") as file:
                yield from _blocks(file)
        try:
            fresh = self._log.open("rb")
        except OSError:
            return
        self._file.close()
        self._file = fresh
        yield from _blocks(self._file)

    def _newer_than(self, held: os.stat_result) -> list[Path]:
        """Return the parts that were rotated after one, the newest first; none if it is gone."""
        newer: list[Path] = []
        for path in self._older():
            found = path.stat()
            if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
                return newer
            newer.append(path)
        return []

    def _older(self) -> Iterator[Path]:
        """Yield the parts that were rotated, the newest first."""
        number = 1
        while (path := self._log.with_name(f"{self._log.name}.{number}")).exists():
            yield path
            number += 1


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _start_of_last(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Return where the last lines of a file begin, and how many there are of them."""
    end = file.seek(0, os.SEEK_END)
    if not end or not lines:
        return end, 0
    position, found = end - 1, 1  # whether it ends with a newline or not
    while position > 0:
        begin = max(0, position - BLOCK)
        file.seek(begin)
        block = file.read(position - begin)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            if found == lines:
                return begin + at + 1, found
            found += 1
        position = begin
    return 0, found
