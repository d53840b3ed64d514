"""What the system says of a file: who may read it, when it was written."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class File:
    """A file or a folder that exists.

    Attributes:
        path: Where it really is, behind all links.
        mode: Its permission bits, such as 0o600.
        folder_mode: Those of the folder that it is in.
        modified: When it was last written, in seconds since 1970.
    """

    path: Path
    mode: int = 0o600
    folder_mode: int = 0o755
    modified: float = 0.0


def file_at(path: Path) -> File | None:
    """Return what the system says of a file; None where there is none, or it hides."""
    try:
        real = Path(os.path.realpath(path))
        found, folder = real.stat(), real.parent.stat()
    except (OSError, ValueError):
        return None
    modes = stat.S_IMODE(found.st_mode), stat.S_IMODE(folder.st_mode)
    return File(real, *modes, found.st_mtime)
