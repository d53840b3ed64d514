"""What is already on this machine of a repository: the cache that huggingface_hub keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sgl_embed_kit.folders import expand_home
from sgl_embed_kit.model.hub import configured_hub
from sgl_embed_kit.model.hub_variables import hub_cache


def cached_folder(
    repo: str, revision: str | None = None, env: Mapping[str, str] = os.environ
) -> Path | None:
    """Return the folder of a repository in the hub's cache, as far as it was fetched, or None.

    The cache is laid out as huggingface_hub says (guide "Understand caching"); its own
    functions for this cost a fifth of a second to import. ModelScope's is another one.

    Args:
        repo: The repository.
        revision: A branch, tag or commit; the main branch by default.
        env: The variables of who will load it.
    """
    if configured_hub(env).is_modelscope:
        return None
    kept = hub_cache(env) / f"models--{repo.replace('/', '--')}"
    try:
        commit = (kept / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = revision or ""
    folder = kept / "snapshots" / commit
    return folder if commit and folder.is_dir() else None


def modelscope_cache(env: Mapping[str, str] = os.environ) -> Path:
    """Return the folder in which ModelScope's client keeps what it fetches.

    As get_modelscope_cache_dir of modelscope/utils/file_utils.py (1.40.2) says.
    """
    return Path(expand_home(env.get("MODELSCOPE_CACHE", "~/.cache/modelscope"), env))
