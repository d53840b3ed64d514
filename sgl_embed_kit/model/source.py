"""Where a profile's `model.path` leads, and how its files come to be on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sgl_embed_kit.errors import ProfileError
from sgl_embed_kit.folders import cache_folder, with_home
from sgl_embed_kit.model import demo
from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.model.repo import fetch_repo
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

TOKENIZER_BYTES = 25_000_000
"""Tokenizer files of the Qwen3-Embedding repositories, which have 20 to 25 MB of them."""


class Kind(StrEnum):
    """What `model.path` names."""

    FOLDER = "folder"
    REPO = "repo"
    DEMO = "demo"
    TINY = "tiny"


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        kind: What `model.path` named.
        model_path: What SGLang is given: a repository id, or a folder, which the
            toolkit may have to make first.
    """

    kind: Kind
    model_path: str

    @property
    def folder(self) -> Path | None:
        """The folder of the model, which may not exist yet; None for a repository."""
        return None if self.kind is Kind.REPO else Path(self.model_path)

    @property
    def is_missing(self) -> bool:
        """Whether the toolkit has to make the folder before SGLang can load it."""
        return self.kind in {Kind.DEMO, Kind.TINY} and not Path(self.model_path).is_dir()

    @property
    def shows_progress(self) -> bool:
        """Whether bringing the model shows progress of its own, as the hub's client does."""
        return self.kind is Kind.REPO

    @property
    def bytes_needed(self) -> int:
        """Disk space that bringing the model here takes; 0 where it is not known."""
        if self.kind is Kind.REPO:
            known = known_model(self.model_path)
            return 2 * known.shape.parameters + TOKENIZER_BYTES if known else 0
        if not self.is_missing:
            return 0
        return demo.demo().bytes_needed if self.kind is Kind.DEMO else 4 * 1024 * 1024

    def make(self, revision: str | None = None, env: Mapping[str, str] = os.environ) -> Path | None:
        """Bring the model's files to this machine; they appear whole or not at all.

        Args:
            revision: Of a repository.
            env: The variables of the server, which say from where and to where.

        Returns:
            The folder with the files; None where SGLang itself will fetch them.

        Raises:
            KitError: they cannot be fetched or written.
        """
        if self.kind is Kind.REPO:
            return fetch_repo(self.model_path, revision, env)
        if self.is_missing and self.kind is Kind.DEMO:
            demo.fetch_demo(Path(self.model_path))
        elif self.is_missing:
            make_tiny_model(Path(self.model_path), TinyModel())
        return Path(self.model_path)


def locate(path: str) -> Source:
    """Say what `model.path` names, from its form and from what exists.

    What has neither the form of a repository id nor a scheme is a folder, even if there is
    none: reading it says so. Slashes at the end mean nothing.

    Raises:
        ProfileError: it names a demo model that does not exist.
    """
    path = path.rstrip("/") or path
    models = cache_folder() / "models"
    if path == "tiny:":
        return Source(Kind.TINY, str(models / "tiny-qwen3-embedding-1"))
    if path.startswith("demo:"):
        if path != f"demo:{demo.NAME}":
            raise ProfileError(
                f"There is no demo model {path!r}.",
                why=f"The only one is demo:{demo.NAME}.",
                cure=f"sgl-embed quickstart --model demo:{demo.NAME}",
            )
        return Source(Kind.DEMO, str(models / f"{demo.NAME}-1"))
    folder = with_home(path)
    if REPO_ID.fullmatch(path) and not _exists(folder):
        return Source(Kind.REPO, path)
    return Source(Kind.FOLDER, str(folder.absolute()))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # something is in the way
        return True
    except (OSError, ValueError):  # longer than a name can be, or with a zero byte
        return False
