"""What a server leaves in shared memory: told from what is others', and removed.

SGLang makes a file for each server that it never removes (`ShmLoadSnapshotWriter`,
srt/managers/load_snapshot.py), and more that a killed process cannot remove. Their names are
random, so they are known by who uses them: a file is the server's if it appeared after the
server began and one of its processes has it mapped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sgl_embed_kit.launch.keeper import SHARED_MEMORY
from sgl_embed_kit.launch.processes import PROC, below, parents

MAPPED = re.compile(r"^(?:\S+ +){5}/dev/shm/([^/\n]+)$", re.MULTILINE)
"""A line of /proc/PID/maps (proc(5)) for a file of shared memory."""

NOTES = ".sgl-embed-shared-memory"
"""In the folder of a server: device, inode and name of each of its files."""

LOOKS = 10
"""At a new file: it is mapped right after it was made, or by somebody else."""


@dataclass(frozen=True)
class SharedFile:
    """A file of shared memory, told from a later one of the same name.

    Attributes:
        device: Device number of its file system.
        inode: Its number there.
        name: Its name.
    """

    device: int
    inode: int
    name: str


class SharedMemory:
    """The files of one server, noted so that they can also be removed by somebody else."""

    def __init__(self, folder: Path, before: Container[str]) -> None:
        """Begin to look.

        Args:
            folder: The server's own.
            before: Names of the files that were there before the server.
        """
        self._notes = folder / NOTES
        self._seen = {file for file in _files() if file.name in before}
        self._looks: dict[SharedFile, int] = {}
        self._own: set[SharedFile] = set()

    def look(self, root: int) -> bool:
        """Note the files that processes below `root` have begun to use.

        Returns:
            Whether there are new ones of which it is not yet known whose they are.
        """
        young = {file for file in _files() if file not in self._seen}
        if not young:
            return False
        mapped = _mapped(below(root))
        for file in young:
            self._looks[file] = self._looks.get(file, 0) + 1
            if file.name in mapped:
                self._own.add(file)
                with suppress(OSError), self._notes.open("a", encoding="utf-8") as out:
                    out.write(f"{file.device} {file.inode} {file.name}\n")
            if file.name in mapped or self._looks[file] == LOOKS:
                self._seen.add(file)
        return not young <= self._seen

    def remove(self) -> None:
        """Remove the server's files."""
        remove(self._own)


def noted(folder: Path) -> set[SharedFile]:
    """Return the files that the notes in a server's folder name."""
    found = set()
    with suppress(OSError):
        for line in (folder / NOTES).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                device, inode, name = line.split(" ", 2)
                found.add(SharedFile(int(device), int(inode), name))
    return found


def remove(files: Iterable[SharedFile]) -> None:
    """Remove files, but not those that a process which can be seen still uses."""
    left = set(files) & set(_files())
    in_use = _mapped(parents()) if left else set()
    for file in left:
        if file.name not in in_use:
            with suppress(OSError):
                Path(SHARED_MEMORY, file.name).unlink()


def _files() -> Iterator[SharedFile]:
    """Yield the files of this user."""
    with suppress(OSError), os.scandir(SHARED_MEMORY) as entries:
        for entry in entries:
            with suppress(OSError):
                stat = entry.stat(follow_symlinks=False)
                if entry.is_file(follow_symlinks=False) and stat.st_uid == os.getuid():
                    yield SharedFile(stat.st_dev, stat.st_ino, entry.name)


def _mapped(pids: Iterable[int]) -> set[str]:
    found: set[str] = set()
    for pid in pids:
        with suppress(OSError):
            maps = (PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace")
            found.update(MAPPED.findall(maps))
    return found
