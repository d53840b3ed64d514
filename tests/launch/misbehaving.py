"""A program in SGLang's place: it starts at once, and misbehaves in the way that a test wants."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import Installed
from tests.conftest import free_port

GUARD = metadata.version("sgl-embed-kit")

PROGRAM = f"""#!{sys.executable}
import http.server, json, os, socket, sys, time
WILL = json.loads(os.environ["STAND_IN"])
words = dict(zip(sys.argv, sys.argv[1:]))

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        print(self.command, self.path, self.headers.get("Authorization"), flush=True)

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/livez" and WILL.get("guard", True):
            launch_id = os.environ["SGL_EMBED_LAUNCH_ID"]
            life = dict(status="alive", guard="{GUARD}", launch_id=launch_id)
            self.answer(200, life | WILL.get("life", {{}}))
        elif self.path == "/v1/models":
            self.answer(200, dict(data=[dict(id=words["--served-model-name"])]))
        else:
            self.answer(404, {{}})

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/tokenize":
            return self.answer(200, dict(tokens=[1] * (len(content["prompt"].split()) + 1)))
        (text,) = content["input"]
        if len(text.split()) > 50 and "long" in WILL:
            time.sleep(WILL["long"].get("sleep", 0))
            return self.answer(WILL["long"].get("status", 500), dict(message="too long"))
        if WILL.get("busy", 0) > 0:
            WILL["busy"] -= 1
            return self.answer(503, dict(message="warming up"))
        if "refuses" in WILL:
            return self.answer(WILL["refuses"], dict(message="no such model"))
        vector = WILL.get("vector", [1.0] + [0.0] * 127)
        self.answer(200, dict(data=[dict(index=0, embedding=vector)]))

class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        if WILL.get("shares"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

print("[2026-11-21 11:24:25] server_args={{}}", flush=True)
print("[2026-11-21 11:24:38] max_total_num_tokens=512, chunked_prefill_size=-1, "
      "max_prefill_tokens=16384, max_running_requests=4096, context_len=400, x=1", flush=True)
time.sleep(WILL.get("sleep", 0))
address = (WILL.get("host", words["--host"]), int(words["--port"]))
if WILL.get("child"):
    if os.fork():
        time.sleep(600)
Server(address, Handler).serve_forever()
"""


def stand_in(folder: Path) -> Path:
    """Write the program into a folder, and return it."""
    program = folder / "stand-in"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def installed_as(program: Path, **changes: Any) -> Installed:
    """Return an SGLang whose command is a program."""
    content: dict[str, Any] = {
        "version": "0.5.23",
        "package": program.parent,
        "command": program,
        "kernels": "not here",
        "sees_guard": True,
        **changes,
    }
    return Installed(**content)


def content_of(model: Path, will: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """Return a profile whose server is the stand-in, as it will be.

    It is for another release than is installed, so that no flags are read from that.
    """
    content: dict[str, dict[str, Any]] = {
        "model": {"path": str(model)},
        "hardware": {"device": "cpu"},
        "sglang": {"version": "0.5.20"},
        "launch": {"fast_start": False, "timeout_seconds": 20},
        "env": {"STAND_IN": json.dumps(will), "MARK": f"stand-in-{os.getpid()}"},
    }
    server = {"server": {"port": free_port(), "drain_seconds": 0.5}}
    for name, changes in [*server.items(), *sections.items()]:
        content[name] = {**content.get(name, {}), **changes}
    return content


Make = Callable[..., Subject]


def subject_maker(program: Path, model: Path) -> Make:
    """Return what makes subjects of a stand-in: of what it will do, and sections of a profile."""

    def make(will: dict[str, Any] | None = None, **options: Any) -> Subject:
        installed = installed_as(program, **options.pop("installed", {}))
        profile = Profile.model_validate(content_of(model, will or {}, **options))
        return Subject.of(profile, installed, RealMachine())

    return make
