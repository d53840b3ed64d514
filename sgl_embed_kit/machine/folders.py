"""What can be done in a folder: writing, and running what was written."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folder:
    """A folder, or where it is not there yet, the nearest one above it.

    Attributes:
        path: The folder that was looked at.
        fault: Why no file can be made in it; empty where one can be.
        noexec: Whether it is mounted so that no program or library in it can be run.
        free: Bytes that are free there.
    """

    path: Path
    fault: str = ""
    noexec: bool = False
    free: int = 0


def look_at(path: Path) -> Folder:
    """Make a file without a name in a folder, or in the nearest one above it that exists."""
    path = path.absolute()
    while not _is_there(path) and path != path.parent:
        path = path.parent
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
        fault = ""
    except OSError as error:
        fault = error.strerror or str(error)
    try:
        noexec = bool(os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0))
        return Folder(path, fault, noexec, shutil.disk_usage(path).free)
    except OSError:
        return Folder(path, fault)


def _is_there(path: Path) -> bool:
    """Say whether a path exists; one that cannot be looked at is there, for all we know."""
    try:
        return path.exists()
    except OSError:
        return True
