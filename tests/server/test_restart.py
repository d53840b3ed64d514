"""A real server that is killed or hangs under `sgl-embed launch` with a restart policy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from sgl_embed_kit.client import EmbeddingClient
from tests.conftest import START_LIMIT, free_port, processes_with

pytestmark = pytest.mark.server

PROFILE = {
    "model": {"path": "tiny:", "served_name": "kept-up"},
    "hardware": {"device": "cpu"},
    "limits": {"context_length": 2048, "max_total_tokens": 1030},
    "guard": {"enabled": False},
    "sglang": {"extra_args": {"page-size": 16}},
    "restart": {"policy": "on-failure", "max_restarts": 1, "first_delay_seconds": 0.1},
    "watchdog": {"quiet_seconds": 3, "stall_seconds": 8},
}
"""The command line would refuse it: a text longer than the KV pool hangs such a server."""

KEEP_UP = """
import json, sys
from sgl_embed_kit.cli.launch import serve
from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.notify import supervisors
from sgl_embed_kit.launch.registration import registered_server
from sgl_embed_kit.launch.signals import stop_signals_interrupt
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import find_installed

profile = Profile.model_validate(json.loads(sys.argv[1]))
subject = Subject.of(profile, find_installed(), RealMachine())
try:
    subject = subject.with_files(subject.source.make())
    with (
        stop_signals_interrupt(),
        registered_server(subject) as registration,
        supervisors({}) as told,
    ):
        serve(subject, registration, told, None, verbose=False)
except KitError as error:
    print(error.what, error.why, error.cure, sep="\\n")
    sys.exit(error.exit_code)
"""


class Launch:
    """A server that is kept up, and what was printed of it so far."""

    def __init__(self, folder: Path, port: int) -> None:
        self._printed = folder / "printed"
        self.mark = f"kept-up-{port}"
        profile = json.dumps({**PROFILE, "server": {"port": port}})
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", KEEP_UP, profile],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SGL_EMBED_TEST": self.mark},
            )

    @property
    def printed(self) -> str:
        return self._printed.read_text(encoding="utf-8")

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not condition():
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.2)

    def scheduler(self) -> psutil.Process:
        """Return the server's scheduler process."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        (found,) = [one for one in below if one.cmdline()[:1] == ["sglang::scheduler"]]
        return found


def is_healthy(url: str) -> bool:
    return httpx.get(f"{url}/health", timeout=20).status_code == 200


def ask_for_too_much(url: str) -> None:
    """Send a text longer than the KV pool, and wait: SGLang hangs for as long as one does."""
    with suppress(httpx.HTTPError):
        body = {"model": "kept-up", "input": [5] * 1500}
        httpx.post(f"{url}/v1/embeddings", json=body, timeout=START_LIMIT)


def test_a_killed_scheduler_is_diagnosed_and_a_hang_that_health_denies_is_noticed(
    tmp_path: Path,
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    launch = Launch(tmp_path, port)
    try:
        launch.wait_for(lambda: "Ready after" in launch.printed)
        with EmbeddingClient(url) as client:
            before = client.embed_documents(["before"])
            launch.scheduler().send_signal(signal.SIGKILL)
            launch.wait_for(lambda: launch.printed.count("Ready after") == 2)
            assert (client.embed_documents(["before"]) == before).all()
        assert "restart 1 of 1" in launch.printed

        launch.wait_for(lambda: is_healthy(url))  # only after SGLang's own warm-up
        client_that_waits = threading.Thread(target=ask_for_too_much, args=(url,))
        client_that_waits.start()
        time.sleep(1)
        assert is_healthy(url)
        assert launch.process.wait(60) == 3
        client_that_waits.join(10)
        assert not client_that_waits.is_alive()
        assert "The server hung: no vector came back and no tokens moved" in launch.printed
        assert "1 restarts within" in launch.printed
        assert processes_with(launch.mark) == []
    finally:
        launch.process.send_signal(signal.SIGINT)
        launch.process.wait(60)
