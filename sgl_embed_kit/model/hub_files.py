"""The files of a repository of the hub: small ones fetched, of weights only their headers.

What was read is kept: small files in huggingface_hub's own cache, lists of files and parts
of weights in the toolkit's. Without a network, both serve.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import cache_folder
from sgl_embed_kit.model.files import LocalFiles, ModelFiles, UnreadableError, too_large
from sgl_embed_kit.model.hub import Hub, check_reach, configured_hub
from sgl_embed_kit.model.repo import hub_errors

if TYPE_CHECKING:
    import httpx

HEAD_BYTES = 128 * 1024
"""Bytes of a file that its first read fetches: the whole header of nearly every shard."""
TIME_LIMIT = 10.0
"""Seconds that the hub may take to answer, and between two parts of an answer."""
PARTIAL_CONTENT = 206
COMMIT = re.compile(r"[0-9a-f]{40,64}")


class Request(NamedTuple):
    """How a file is asked for: by whom, where, with which headers, and what is an error."""

    client: httpx.Client
    url: str
    headers: Mapping[str, str]
    check: Callable[[httpx.Response], object]


class HubFiles:
    """The files of a repository at one commit.

    Args:
        repo: The repository.
        commit: The commit.
        sizes: Bytes of each of its files.
        hub: Where to ask.
        why_offline: Why the hub cannot be asked; empty where it can.
    """

    is_local = False

    def __init__(
        self, repo: str, commit: str, sizes: Mapping[str, int], hub: Hub, why_offline: str = ""
    ) -> None:
        self._repo, self.commit, self._hub = repo, commit, hub
        self.sizes = sizes
        self.odd: Mapping[str, str] = {}
        self._why_offline = why_offline

    @property
    def name(self) -> str:
        """The repository."""
        return self._repo

    def read(self, name: str, limit: int) -> bytes:
        """Return a whole small file, through huggingface_hub's cache."""
        size = self.sizes.get(name)
        if size is None:
            raise UnreadableError("it is not there")
        if size > limit:
            raise UnreadableError(too_large(size, limit))
        cached = self._cached(name)
        if cached is None:
            self._must_be_online(name)
            from huggingface_hub import hf_hub_download

            with hub_errors(self._repo, self.commit, self._hub):
                cached = Path(
                    hf_hub_download(self._repo, name, revision=self.commit, endpoint=self._hub.url)
                )
        return LocalFiles(cached.parent).read(cached.name, limit)

    def read_at(self, name: str, start: int, count: int) -> bytes:
        """Return part of a file, which is then kept."""
        cached = self._cached(name)
        if cached is not None:
            return LocalFiles(cached.parent).read_at(cached.name, start, count)
        count = max(min(count, self.sizes[name] - start), 0)
        if start + count <= HEAD_BYTES:
            head = self._part(name, 0, min(HEAD_BYTES, self.sizes[name]))
            return head[start : start + count]
        return self._part(name, start, count)

    def _cached(self, name: str) -> Path | None:
        """Return a file of huggingface_hub's cache, or None."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self._repo, name, revision=self.commit)
        return Path(found) if isinstance(found, str) else None

    def _part(self, name: str, start: int, count: int) -> bytes:
        kept = cache_of(self._repo) / self.commit / f"{quote(name, safe='')}@{start}+{count}"
        with suppress(OSError):
            content = kept.read_bytes()
            if len(content) == count:
                return content
        self._must_be_online(name)
        with hub_errors(self._repo, self.commit, self._hub):
            content = self._ask(name, start, count)
        if len(content) != count:
            raise UnreadableError(f"{self._hub.url} gave {len(content)} bytes of {count}")
        keep(kept, content)
        return content

    def _ask(self, name: str, start: int, count: int) -> bytes:
        """Ask for part of a file; a server that knows no ranges is read from its start."""
        client, url, headers, check = self._request(name)
        wanted = {"Range": f"bytes={start}-{start + count - 1}", "Accept-Encoding": "identity"}
        content = bytearray()
        with client.stream(
            "GET", url, headers={**headers, **wanted}, timeout=TIME_LIMIT, follow_redirects=True
        ) as response:
            check(response)
            skipped = 0 if response.status_code == PARTIAL_CONTENT else start
            if skipped > HEAD_BYTES:
                raise UnreadableError(f"{self._hub.url} gives no parts of files")
            for part in response.iter_raw():
                content += part
                if len(content) >= skipped + count:
                    break
        return bytes(content[skipped : skipped + count])

    def _request(self, name: str) -> Request:
        """Return how a file is asked for."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(self._repo, name, revision=self.commit, endpoint=self._hub.url)
        return Request(get_session(), url, build_hf_headers(), hf_raise_for_status)

    def _must_be_online(self, name: str) -> None:
        if self._why_offline:
            raise UnreadableError(
                f"it is not in the cache of {self._repo}, and {name} cannot be "
                f"fetched: {self._why_offline}"
            )


def open_repo(repo: str, revision: str | None = None) -> tuple[ModelFiles, str]:
    """Return the files of a repository, and the commit that they are of.

    Raises:
        KitError: the hub has no such repository or revision, or cannot be reached and
            nothing is in the cache.
    """
    hub = configured_hub()
    reach = check_reach(repo, hub)
    if reach.answered:
        files = _listed(repo, revision, hub)
        return files, files.commit
    kept = kept_list(repo, revision or "main")
    if kept is not None:
        return HubFiles(repo, *kept, hub, why_offline=reach.why_not), kept[0]
    folder = _snapshot(repo, revision)
    if folder is not None:
        return LocalFiles(folder), folder.name
    raise KitError(
        f"{repo} is neither in the cache nor in reach.",
        why=f"{reach.why_not}.",
        cure="export HF_ENDPOINT=https://your-mirror",
    )


def _listed(repo: str, revision: str | None, hub: Hub) -> HubFiles:
    """Ask the hub for a repository's files, and keep the answer."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()  # the files are small
    with hub_errors(repo, revision, hub):
        info = HfApi(endpoint=hub.url).model_info(
            repo, revision=revision, timeout=TIME_LIMIT, files_metadata=True
        )
    commit = str(info.sha)
    if not COMMIT.fullmatch(commit):  # it becomes the name of a folder
        raise KitError(f"{hub.url} gives {repo} no commit.", why=f"It calls it {commit!r}.")
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    for known_as in {revision or "main", commit}:
        keep_list(repo, known_as, commit, sizes)
    return HubFiles(repo, commit, sizes, hub)


def keep_list(repo: str, known_as: str, commit: str, sizes: Mapping[str, int]) -> None:
    """Keep the list of a repository's files by what its state is known as."""
    content = json.dumps({"commit": commit, "sizes": sizes}).encode()
    keep(cache_of(repo) / f"{quote(known_as, safe='')}.json", content)


def kept_list(repo: str, known_as: str) -> tuple[str, dict[str, int]] | None:
    """Return the commit and the sizes of a list that was kept, or None."""
    kept = cache_of(repo) / f"{quote(known_as, safe='')}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content: Any = json.loads(kept.read_bytes())
        return str(content["commit"]), {str(k): int(v) for k, v in content["sizes"].items()}
    return None


def _snapshot(repo: str, revision: str | None) -> Path | None:
    """Return the folder of a repository that was downloaded earlier, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    with suppress(LocalEntryNotFoundError):
        return Path(snapshot_download(repo, revision=revision, local_files_only=True))
    return None


def cache_of(repo: str) -> Path:
    """Return the folder with what was kept of a repository."""
    return cache_folder() / "hub" / repo.replace("/", "--")


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all; a cache that fails is none."""
    work = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        work.write_bytes(content)
        work.replace(path)
