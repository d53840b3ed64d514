"""A folder for small files of this user alone, in which nothing planted is followed or read."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from sgl_embed_kit.errors import KitError

LONGEST = 64 * 1024
"""Bytes of a file that are read; no file that the toolkit writes there is as long."""
OTHERS = stat.S_IRWXG | stat.S_IRWXO
PARTIAL = ".partial"
LOCK = ".lock"
WHY = "What lies there decides which processes get signals, so it has to be yours alone."


class PlantedError(KitError):
    """A folder may hold what another user put there."""


class PrivateFolder:
    """An open folder; all its files are reached through it, by their bare names."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def names(self) -> list[str]:
        """Return the names of the files that are complete."""
        return sorted(n for n in self._all() if n != LOCK and not n.endswith(PARTIAL))

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where it is gone, or not an ordinary file of ours."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        except OSError:
            return None
        try:
            found = os.fstat(descriptor)
            is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            return os.read(descriptor, LONGEST) if is_ours else None
        finally:
            os.close(descriptor)

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all, whatever had its name before.

        Raises:
            OSError: it cannot be written.
        """
        partial = f"{name}.{secrets.token_hex(4)}{PARTIAL}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o600, dir_fd=self._descriptor)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            os.replace(partial, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            self.remove(partial)
            raise
        with suppress(OSError):  # some file systems know no fsync of a folder
            os.fsync(self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself, if it can be."""
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes that lock it out while the block runs.

        What a writer that was killed left unfinished is removed. Without effect where the
        file system knows no locks, or the folder cannot be written.
        """
        import fcntl  # not on Windows

        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with ExitStack() as stack:
            with suppress(OSError):
                descriptor = os.open(LOCK, flags, 0o600, dir_fd=self._descriptor)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                for name in self._all():
                    if name.endswith(PARTIAL):
                        self.remove(name)
            yield

    def _all(self) -> list[str]:
        return os.listdir(self._descriptor)  # noqa: PTH208 - pathlib knows no descriptors


@contextmanager
def private_folder(parent: Path, name: str, *, make: bool) -> Iterator[PrivateFolder]:
    """Open a folder of this user alone.

    Args:
        parent: The folder that it is in: ours or root's, and no link either.
        name: Its name.
        make: Whether to make both where they are not there.

    Raises:
        PlantedError: one of them is a link or another user's, or the folder is open to others.
        OSError: they are not there, or cannot be made.
    """
    with _opened(parent, name, make=make) as descriptor:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & OTHERS:
            path = parent / name
            raise PlantedError(
                f"{path} is open to others (mode {mode:04o}).", why=WHY, cure=f"chmod 700 {path}"
            )
        yield PrivateFolder(descriptor)


def mend(parent: Path, name: str) -> str:
    """Close a folder of ours to others; return a sentence if it was open, else nothing.

    What is in it by then is still only read where it is this user's.

    Raises:
        PlantedError: it is a link or another user's.
    """
    with suppress(OSError), _opened(parent, name, make=False) as descriptor:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & OTHERS:
            os.fchmod(descriptor, 0o700)
            return f"{parent / name} was open to others (mode {mode:04o}); it is yours alone now."
    return ""


@contextmanager
def _opened(parent: Path, name: str, *, make: bool) -> Iterator[int]:
    if make:
        with suppress(FileExistsError):
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    above = _open(parent, None, {os.geteuid(), 0})
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
        descriptor = _open(parent / name, above, {os.geteuid()})
    finally:
        os.close(above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(path: Path, above: int | None, owners: set[int]) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path if above is None else path.name, flags, dir_fd=above)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
            raise
        kind = "a symbolic link" if path.is_symlink() else "no folder"
        raise _refused(path, f"is {kind}", above) from error
    owner = os.fstat(descriptor).st_uid
    if owner not in owners:
        os.close(descriptor)
        raise _refused(path, f"belongs to another user (uid {owner})", above)
    return descriptor


def _refused(path: Path, fault: str, above: int | None) -> PlantedError:
    elsewhere = "export SGL_EMBED_STATE=/a/folder/you/own"
    cure = elsewhere if above is None else f"mv {path} {path}.old"
    return PlantedError(f"{path} {fault}.", why=WHY, cure=cure)
