"""The files of a repository of ModelScope: small ones fetched, of weights only their headers.

By the interface that modelscope_hub 0.5 uses, which SGLang brings (its _legacy_api.py); that
library takes 0.3 s to import and fetches whole files only.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.files import UnreadableError, too_large
from sgl_embed_kit.model.hub import Hub, check_reach, configured_hub
from sgl_embed_kit.model.hub_files import (
    TIME_LIMIT,
    HubFiles,
    Request,
    keep_list,
    kept_list,
)
from sgl_embed_kit.model.repo import hub_errors

if TYPE_CHECKING:
    import httpx

REVISION = "master"
"""What ModelScope calls the newest state."""
KNOWN_AS = "modelscope@{}"
"""Name of a kept list, which must not be taken for one of Hugging Face."""


class ScopeFiles(HubFiles):
    """The files of a repository as they were when they were listed.

    Args:
        repo: The repository.
        state: Stands for their content: a hash of the list.
        sizes: Bytes of each of its files.
        hub: Where to ask.
        revision: Branch, tag or commit.
        why_offline: Why the hub cannot be asked; empty where it can.
    """

    def __init__(
        self,
        repo: str,
        state: str,
        sizes: dict[str, int],
        hub: Hub,
        revision: str,
        why_offline: str = "",
    ) -> None:
        super().__init__(repo, state, sizes, hub, why_offline)
        self._revision = revision

    def read(self, name: str, limit: int) -> bytes:
        """Return a whole small file, which is then kept."""
        size = self.sizes.get(name)
        if size is None:
            raise UnreadableError("it is not there")
        if size > limit:
            raise UnreadableError(too_large(size, limit))
        return self._part(name, 0, size)

    def _cached(self, name: str) -> None:
        """Return None: huggingface_hub's cache holds files of another hub."""

    def _request(self, name: str) -> Request:
        import httpx

        query = urlencode({"Revision": self._revision, "FilePath": name})
        url = f"{_address(self._hub, self.name)}/repo?{query}"
        return Request(self._client, url, {}, httpx.Response.raise_for_status)

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        return httpx.Client()


def open_scope(repo: str, revision: str | None = None) -> ScopeFiles:
    """Return the files of a public repository.

    Raises:
        KitError: ModelScope has no such repository or revision, or cannot be reached and
            nothing is in the cache.
    """
    hub, state = configured_hub(), revision or REVISION
    reach = check_reach(repo, hub)
    if reach.answered:
        return _listed(repo, state, hub)
    kept = kept_list(repo, KNOWN_AS.format(state))
    if kept is not None:
        return ScopeFiles(repo, *kept, hub, state, why_offline=reach.why_not)
    raise KitError(
        f"{repo} is neither in the cache nor in reach.",
        why=f"{reach.why_not}.",
        cure="unset SGLANG_USE_MODELSCOPE",
    )


def _listed(repo: str, revision: str, hub: Hub) -> ScopeFiles:
    """Ask for a repository's files, and keep the answer."""
    import httpx

    query = urlencode({"Revision": revision, "Recursive": "True"})
    with hub_errors(repo, revision, hub):
        answer = httpx.get(
            f"{_address(hub, repo)}/repo/files?{query}", timeout=TIME_LIMIT, follow_redirects=True
        )
    if answer.is_error:
        raise KitError(
            f"{hub.url} gives no files of {repo} at {revision}.",
            why=f"It answered {answer.status_code}: the name is wrong, or the repository private.",
            cure=f"modelscope download --model {repo} --local_dir DIR; sgl-embed model show DIR",
        )
    entries = _entries(answer.content)
    if entries is None:
        raise KitError(f"{hub.url} gives no list of the files of {repo}.", why="It is no JSON.")
    sizes = {name: size for name, size, _ in entries}
    state = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    keep_list(repo, KNOWN_AS.format(revision), state, sizes)
    return ScopeFiles(repo, state, sizes, hub, revision)


def _entries(content: bytes) -> list[tuple[str, int, str]] | None:
    """Return name, size and hash of the files of an answer; None where it is none."""
    try:
        data = json.loads(content)["Data"]
        files = data["Files"] if isinstance(data, dict) else data
        return sorted(
            (str(entry["Path"]), int(entry.get("Size") or 0), str(entry.get("Sha256")))
            for entry in files
            if entry.get("Type") != "tree"
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _address(hub: Hub, repo: str) -> str:
    return f"{hub.url}/api/v1/models/{repo}"
