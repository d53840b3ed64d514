"""Look into a model folder before anything heavy does, and name what is wrong with it."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.facts import ModelFacts, read_facts
from sgl_embed_kit.model.files import FORBIDDEN, LocalFiles, may_read
from sgl_embed_kit.model.weights import sentence


class Folders:
    """Model folders, each read once, whoever asks and from whatever thread.

    What was read stays as it is: after files were brought, others are to be made.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: dict[Path, ModelFacts] = {}

    def facts(self, path: Path) -> ModelFacts:
        """Return what the files of a folder say, with all that is wrong.

        Raises:
            KitError: there is no such folder, or it cannot be looked into.
        """
        with self._lock:
            if path not in self._read:
                self._read[path] = read_facts(local_files(path))
            return self._read[path]

    def sound(self, path: Path) -> ModelFacts:
        """Return what launching needs to know of a model folder.

        Raises:
            KitError: SGLang could not load it, or would make wrong vectors of it; the first
                of its faults.
        """
        facts = self.facts(path)
        if facts.errors:
            raise facts.errors[0].as_error()
        return facts


def local_files(path: Path) -> LocalFiles:
    """Return the files of a model folder.

    Raises:
        KitError: there is no such folder, or this user may not look into it.
    """
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except PermissionError:
        raise _forbidden(path, path.parent) from None
    except (OSError, ValueError):  # longer than a name can be, or with a zero byte
        exists = is_folder = False
    if not is_folder:
        raise KitError(
            f"There is no model folder {path}.",
            why="It is a file."
            if exists
            else "The path does not exist; a repository id has the form Qwen/Qwen3-Embedding-0.6B.",
            cure=f"ls -d {shlex.quote(str(path.parent))}/*",
        )
    if not may_read(path, os.R_OK | os.X_OK):
        raise _forbidden(path, path)
    return LocalFiles(path)


def read_folder(path: Path) -> ModelFacts:
    """Read a model folder for once, as `Folders.sound` does."""
    return Folders().sound(path)


def _forbidden(path: Path, closed: Path) -> KitError:
    return KitError(
        f"{path} cannot be looked into.",
        why=sentence(FORBIDDEN),
        cure=f"sudo chmod a+rx {shlex.quote(str(closed))}",
    )
