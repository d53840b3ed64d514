"""The files of a model, wherever they are: a seam that only ever reads regular files.

A model folder may come from anybody. So every read has a limit, nothing but a regular
file is opened, no name leads out of the folder, and listing ends.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

MIB = 2**20
CONFIG_LIMIT = MIB
"""Bytes of a JSON file that configures a model; real ones have a few kB."""
MOST_FILES = 10_000
FORBIDDEN = "this user may not read it"
"""Why a file is odd whose permissions keep this user out."""


class UnreadableError(Exception):
    """A file that cannot be read, or should not be; the text says why, as a sentence."""


class ModelFiles(Protocol):
    """The files of one model.

    Attributes:
        name: What they are called for people: the path of the folder, or the repository.
        sizes: Bytes of each regular file by its path inside the model, with slashes;
            two levels deep, which is as deep as SGLang looks.
        odd: Why what has a name is no regular file, by that name.
        is_local: Whether `name` is a folder of this machine.
    """

    @property
    def is_local(self) -> bool: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def sizes(self) -> Mapping[str, int]: ...  # noqa: D102

    @property
    def odd(self) -> Mapping[str, str]: ...  # noqa: D102

    def read(self, name: str, limit: int) -> bytes:
        """Return a whole file.

        Raises:
            UnreadableError: it is absent, larger than `limit` bytes, or no regular file.
        """

    def read_at(self, name: str, start: int, count: int) -> bytes:
        """Return up to `count` bytes of a file from `start`; fewer where it ends.

        Raises:
            UnreadableError: it cannot be read.
        """


class LocalFiles:
    """The files of a folder of this machine."""

    is_local = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder, as a path."""
        return str(self.folder)

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each regular file, links followed, as the hub's cache is made of them."""
        return self._listed[0]

    @property
    def odd(self) -> Mapping[str, str]:
        """Why what has a name is no regular file."""
        return self._listed[1]

    @cached_property
    def _listed(self) -> tuple[dict[str, int], dict[str, str]]:
        sizes: dict[str, int] = {}
        odd: dict[str, str] = {}
        folders = [("", self.folder)]
        for prefix, folder in folders:
            try:
                entries = sorted(islice(folder.iterdir(), MOST_FILES))
            except OSError as error:
                odd[prefix or "."] = error.strerror or str(error)
                continue
            for entry in entries:
                name = f"{prefix}{entry.name}"
                try:
                    found = entry.stat()
                except OSError as error:
                    odd[name] = _system_reason(entry, error)
                    continue
                if stat.S_ISREG(found.st_mode):
                    if may_read(entry, os.R_OK):
                        sizes[name] = found.st_size
                    else:
                        odd[name] = FORBIDDEN
                elif not stat.S_ISDIR(found.st_mode):
                    odd[name] = f"it is {_kind(found.st_mode)}, not a file"
                elif not prefix and len(folders) < MOST_FILES:
                    folders.append((f"{entry.name}/", entry))
        return sizes, odd

    def read(self, name: str, limit: int) -> bytes:
        """Return a whole file of at most `limit` bytes."""
        with _opened(self.folder, name) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise UnreadableError(too_large(size, limit))
            return _exactly(file, size)

    def read_at(self, name: str, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start`."""
        with _opened(self.folder, name) as file:
            file.seek(start)
            return _exactly(file, count)


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """Open a regular file, so that a FIFO in its place cannot keep the program waiting."""
    check_name(name)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    path = folder / name
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise UnreadableError(_system_reason(path, error)) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UnreadableError(f"it is {_kind(mode)}, not a file")
        try:
            yield file
        except OSError as error:
            raise UnreadableError(_system_reason(path, error)) from error


def _exactly(file: BinaryIO, count: int) -> bytes:
    """Return `count` bytes, or what there is; an unbuffered file may give less at a time."""
    parts: list[bytes] = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def check_name(name: str) -> None:
    """Refuse a name that leads out of the model: its files may name others.

    Raises:
        UnreadableError: it does.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UnreadableError(f"{name!r} leads out of the model folder")


def json_object(files: ModelFiles, name: str, limit: int = CONFIG_LIMIT) -> dict[str, Any]:
    """Return a JSON object from a file of at most `limit` bytes.

    Raises:
        UnreadableError: the file cannot be read, or holds something else.
    """
    try:
        value = json.loads(files.read(name, limit))
    except RecursionError as error:
        raise UnreadableError("it is nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise UnreadableError(f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableError("it holds no JSON object")
    return value


def may_read(path: Path, rights: int) -> bool:
    """Say whether this process has rights to a path: os.R_OK, and os.X_OK to enter a folder."""
    return os.access(path, rights, effective_ids=os.access in os.supports_effective_ids)


def too_large(size: int, limit: int) -> str:
    """Say that a file is too large to be read."""
    return f"it has {size / MIB:.1f} MiB, and no more than {limit / MIB:g} MiB are read"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _system_reason(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno == errno.EACCES:
        return FORBIDDEN
    if error.errno == errno.ELOOP:
        return "it is a symbolic link that leads back to itself"
    if error.errno == errno.ENOENT and path.is_symlink():
        return "it is a symbolic link that leads nowhere"
    return reason[:1].lower() + reason[1:]
