"""Bring a repository of the hub into the local cache, with the hub's own progress bars.

SGLang would download it too, but inside its start, where the time limit runs and no
progress shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.files import UnreadableError
from sgl_embed_kit.model.hub import Hub, configured_hub

WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files that SGLang and the guard read; pickles, ONNX and GGUF files stay there."""


def fetch_repo(repo: str, revision: str | None) -> Path | None:
    """Download what is missing of `repo` into huggingface_hub's cache; return its folder.

    ModelScope is left to SGLang, which resolves its repositories by itself: None then.

    Raises:
        KitError: the hub cannot be reached, or has no such repository or revision.
    """
    hub = configured_hub()
    if hub.is_modelscope:
        return None
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None  # no server here; the doctor says so
    with hub_errors(repo, revision, hub):
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(WANTED)))


@contextmanager
def hub_errors(repo: str, revision: str | None, hub: Hub) -> Iterator[None]:
    """Turn what huggingface_hub raises into sentences.

    Raises:
        KitError: the hub cannot be reached, or has no such repository or revision.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except (KitError, UnreadableError):
        raise
    except GatedRepoError as error:
        raise KitError(
            f"{repo} is gated.",
            why=f"{hub.url} gives it only to accounts that were granted access.",
            cure="hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise KitError(f"{repo} has no revision {revision}.", why=f"{hub.url} says so.") from error
    except RepositoryNotFoundError as error:
        raise KitError(
            f"{hub.url} has no repository {repo}.",
            why="The name is wrong, or the repository is private.",
            cure="hf auth login",
        ) from error
    except Exception as error:  # huggingface_hub lets its HTTP library's errors through
        reason = str(error).strip().splitlines()
        raise KitError(
            f"{repo} could not be downloaded from {hub.url}.",
            why=reason[0] if reason else type(error).__name__,
            cure="unset SGLANG_USE_MODELSCOPE"
            if hub.is_modelscope
            else "export HF_ENDPOINT=https://your-mirror",
        ) from error
