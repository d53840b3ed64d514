"""A model hub on this machine: the part of Hugging Face's interface that downloads use.

It answers range requests, as the real one does, and counts what it sends.

It has one repository, Qwen/Qwen3-Embedding-0.6B, whose content is a random model of the
real one's width. It takes the place of what no test can rely on: the hub itself.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from sgl_embed_kit.launch.quickstart import QWEN
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import load_profile


class FakeHub:
    """Serves the repository while the block runs; `url` goes into HF_ENDPOINT.

    Attributes:
        url: Its address.
        sent: Bytes that it has sent of each file.
        gives_ranges: Whether it answers with parts of files where it is asked for them.
        commit: What it says the commit is.
    """

    gives_ranges = True
    commit = load_profile("06b-cpu").model.revision or ""

    def __init__(self, folder: Path) -> None:
        self.sent: Counter[str] = Counter()
        make_tiny_model(folder, TinyModel(hidden_size=1024, layers=1))
        config = json.loads((folder / "config.json").read_text())
        config["max_position_embeddings"] = 32768
        (folder / "config.json").write_text(json.dumps(config))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(folder, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(folder: Path, hub: FakeHub) -> type[http.server.BaseHTTPRequestHandler]:
    commit = load_profile("06b-cpu").model.revision or ""
    files = {str(f.relative_to(folder)): f for f in folder.rglob("*") if f.is_file()}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            path = self.path.split("?")[0].strip("/")
            if path in {f"api/models/{QWEN}", f"api/models/{QWEN}/revision/{commit}"}:
                siblings = [
                    {"rfilename": name, "size": file.stat().st_size} for name, file in files.items()
                ]
                info = {"id": QWEN, "sha": hub.commit, "siblings": siblings, "private": False}
                self._send(200, json.dumps(info).encode(), with_body, "application/json")
                return
            if path == f"api/models/{QWEN}/tree/{commit}":
                tree = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                    for name, file in files.items()
                ]
                self._send(200, json.dumps(tree).encode(), with_body, "application/json")
                return
            for revision in (commit, "main"):
                name = path.removeprefix(f"{QWEN}/resolve/{revision}/")
                if name in files:
                    status, body = self._part(files[name].read_bytes())
                    hub.sent[name] += len(body) if with_body else 0
                    self._send(status, body, with_body, "text/plain")
                    return
            self._send(404, b"{}", with_body, "application/json", "EntryNotFound")

        def _part(self, content: bytes) -> tuple[int, bytes]:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted is None or not hub.gives_ranges:
                return 200, content
            return 206, content[int(wanted[1]) : int(wanted[2]) + 1]

        def _send(
            self, status: int, body: bytes, with_body: bool, kind: str, error: str = ""
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            if error:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    return Handler
