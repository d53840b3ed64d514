"""Look into a model folder before anything heavy does, and name what is wrong with it."""

from __future__ import annotations

from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.facts import ModelFacts, read_facts
from sgl_embed_kit.model.files import LocalFiles


def local_files(path: Path) -> LocalFiles:
    """Return the files of a model folder.

    Raises:
        KitError: there is no such folder.
    """
    if not path.is_dir():
        raise KitError(
            f"There is no model folder {path}.",
            why="It is a file." if path.exists() else "The path does not exist.",
            cure=f"ls -d {path.parent}/*",
        )
    return LocalFiles(path)


def read_folder(path: Path) -> ModelFacts:
    """Read what launching needs to know of a model folder.

    Raises:
        KitError: SGLang could not load it, or would make wrong vectors of it; the first
            of its faults.
    """
    facts = read_facts(local_files(path))
    if facts.errors:
        raise facts.errors[0].as_error()
    return facts
