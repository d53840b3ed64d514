"""A ModelScope repository's facts without its weights: against a hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import Inspection, inspect_files, inspect_source
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from tests.machines import UNREACHABLE

REPO = "org/model"


class Scope(http.server.ThreadingHTTPServer):
    """The part of ModelScope's interface that listing and fetching files use.

    Attributes:
        folder: The only repository.
        sent: Bytes that were sent of each file.
        headers: Headers of all requests.
        gives_ranges: Whether parts of files are given.
        listing: What it answers instead of the list, or None.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.gives_ranges = folder, True
        self.sent: Counter[str] = Counter()
        self.headers: list[str] = []
        self.listing: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = [{"Path": "1_Pooling", "Type": "tree", "Size": 0}]
        for file in sorted(self.folder.rglob("*")):
            if file.is_file():
                content = file.read_bytes()
                found.append(
                    {
                        "Path": str(file.relative_to(self.folder)),
                        "Type": "blob",
                        "Size": len(content),
                        "Sha256": hashlib.sha256(content).hexdigest(),
                    }
                )
        return found


class Handler(http.server.BaseHTTPRequestHandler):
    server: Scope

    def do_HEAD(self) -> None:
        self._send(200 if self.path == f"/models/{REPO}" else 404, b"")

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = {key: value for key, (value,) in parse_qs(address.query).items()}
        if query.get("Revision") != "master" or not address.path.startswith(
            f"/api/v1/models/{REPO}/repo"
        ):
            self._send(404, b"{}")
        elif address.path.endswith("/files"):
            files = {"Code": 200, "Data": {"Files": self.server.files()}}
            listing = self.server.listing
            self._send(200, json.dumps(files).encode() if listing is None else listing)
        else:
            content = (self.server.folder / query["FilePath"]).read_bytes()
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            status = 200
            if wanted and self.server.gives_ranges:
                status, content = 206, content[int(wanted[1]) : int(wanted[2]) + 1]
            self.server.sent[query["FilePath"]] += len(content)
            self._send(status, content)

    def _send(self, status: int, body: bytes) -> None:
        self.server.headers.append(str(self.headers))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scope]:
    make_tiny_model(tmp_path / "model", TinyModel(hidden_size=256, layers=1))
    with Scope(tmp_path / "model") as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        monkeypatch.setenv("SGLANG_USE_MODELSCOPE", "1")
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", serving.url)
        monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path / "cache"))
        yield serving
        serving.shutdown()


def look(repo: str = REPO, revision: str | None = None) -> Inspection:
    return inspect_source(locate(repo), revision)


def test_a_repository_says_the_same_as_its_folder(scope: Scope) -> None:
    found, local = look(), inspect_files(local_files(scope.folder))
    assert found.fingerprint == local.fingerprint
    assert found.fingerprint is not None
    assert found.facts.weight_bytes == local.facts.weight_bytes
    assert found.tokenizer == local.tokenizer
    assert (found.facts.name, found.faults, found.revision) == (REPO, (), None)


def test_of_the_weights_only_a_little_is_fetched(scope: Scope) -> None:
    look()
    size = (scope.folder / "model.safetensors").stat().st_size
    assert 0 < scope.sent["model.safetensors"] < 200_000 < size


def test_a_token_for_hugging_face_goes_nowhere_else(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    look()
    assert scope.headers
    assert not any("hf_secret" in headers for headers in scope.headers)


def test_a_second_look_fetches_nothing_again_and_a_new_state_does(scope: Scope) -> None:
    first, sent = look(), dict(scope.sent)
    assert look() == first
    assert dict(scope.sent) == sent
    config = scope.folder / "config.json"
    config.write_text(config.read_text().replace("4096", "4095"))
    assert look().facts.positions == 4095


def test_without_a_network_the_cache_serves(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look()
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", UNREACHABLE)
    assert look() == first
    with pytest.raises(KitError, match="neither in the cache nor in reach"):
        look(revision="v2")


def test_a_hub_that_gives_no_parts_still_gives_headers(scope: Scope) -> None:
    scope.gives_ranges = False
    found = look()
    assert found.facts.weights.dtype == "bfloat16"


@pytest.mark.parametrize(("repo", "revision"), [("org/other", None), (REPO, "v9")])
def test_what_is_not_there_is_named(scope: Scope, repo: str, revision: str | None) -> None:
    with pytest.raises(KitError, match=f"{scope.url} gives no files of {repo}") as caught:
        look(repo, revision)
    assert caught.value.cure.startswith(f"modelscope download --model {repo}")


@pytest.mark.parametrize(
    "listing",
    [
        b"",
        b"[]",
        b'{"Data": 3}',
        b'{"Data": {"Files": [{}]}}',
        b'{"Data": {"Files": [{"Path": "a", "Size": "b"}]}}',
    ],
)
def test_an_answer_that_is_no_list_is_an_error(scope: Scope, listing: bytes) -> None:
    scope.listing = listing
    with pytest.raises(KitError, match="gives no list of the files"):
        look()
