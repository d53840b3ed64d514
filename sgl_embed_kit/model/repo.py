"""Bring a repository of the hub into the local cache, with the hub's own progress bars.

SGLang would download it too, but inside its start, where the time limit runs and no
progress shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.files import UnreadableError
from sgl_embed_kit.model.hub import Hub, configured_hub
from sgl_embed_kit.model.hub_token import hub_token
from sgl_embed_kit.model.hub_variables import hub_cache, offline_by

WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files that SGLang and the guard read; pickles, ONNX and GGUF files stay there."""


def fetch_repo(repo: str, revision: str | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Download what is missing of `repo` into huggingface_hub's cache; return its folder.

    ModelScope is left to SGLang, which resolves its repositories by itself: None then.

    Args:
        repo: The repository.
        revision: A branch, tag or commit; the main branch by default.
        env: The variables of the server, which will look for the files where they say.

    Raises:
        KitError: the hub cannot be reached, or has no such repository or revision.
    """
    hub = configured_hub(env)
    if hub.is_modelscope:
        return None
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None  # no server here; the doctor says so
    with hub_errors(repo, revision, hub):
        token = hub_token(env)
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(WANTED),
                endpoint=hub.url,
                cache_dir=hub_cache(env),
                token=token.value if token else None,
                local_files_only=offline_by(env) is not None,
            )
        )


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
