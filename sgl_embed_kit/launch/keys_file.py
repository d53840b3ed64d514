"""The private file through which keys reach SGLang, so that none stands in a process list.

`sglang serve --config FILE` takes flags from a YAML file. Ours lies in memory (tmpfs), for
this user only, and goes as soon as SGLang has read it, or is dead.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from sgl_embed_kit.errors import KitError

PREFIX = "sgl-embed-keys-"
LONGEST_LIFE = 3600.0
"""Seconds after which no server can still be about to read its keys."""


class KeysFile:
    """A file with keys, which exists from its making to `remove`."""

    def __init__(self, keys: Mapping[str, str], folder: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
        self.path = self._folder / "keys.yaml"  # SGLang insists on the suffix
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(self.path, flags, 0o600), "w", encoding="ascii") as file:
            file.writelines(f'{flag}: "{key}"\n' for flag, key in keys.items())

    def remove(self) -> None:
        """Remove the file and its folder; once is enough, and more does no harm."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def keys_file(keys: Mapping[str, str]) -> Iterator[KeysFile | None]:
    """Write the keys where SGLang can read them while the block runs; None for no keys.

    Raises:
        KitError: no folder in memory can be written.
    """
    if not keys:
        yield None
        return
    folder = memory_folder((os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"))  # noqa: S108
    _sweep(folder)
    file = KeysFile(keys, folder)
    try:
        yield file
    finally:
        file.remove()


def memory_folder(candidates: Sequence[str | None]) -> Path:
    """Return the first of the folders that lies in memory and can be written.

    Raises:
        KitError: none does.
    """
    kinds = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    for candidate in filter(None, candidates):
        path = Path(candidate)
        mount = next((parent for parent in (path, *path.parents) if parent in kinds), None)
        if mount and kinds[mount] in {"tmpfs", "ramfs"} and os.access(path, os.W_OK | os.X_OK):
            return path
    raise KitError(
        "There is no folder in memory for the server's key.",
        why="Neither $XDG_RUNTIME_DIR nor /dev/shm is a tmpfs that can be written.",
        cure="mount -t tmpfs tmpfs /dev/shm",
    )


def _sweep(folder: Path) -> None:
    """Remove what launchers of this user left that were killed before they could do it."""
    for left in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = left.stat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > LONGEST_LIFE:
                shutil.rmtree(left)
