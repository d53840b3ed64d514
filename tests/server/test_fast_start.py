"""A server started fast and one started the plain way are the same server."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import KitError, ServerDiedError
from sgl_embed_kit.launch.events import nobody
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.conftest import free_port

pytestmark = pytest.mark.server

OF_EACH_START = {
    "SGLANG_RUN_ID",
    "PROMETHEUS_MULTIPROC_DIR",
    "SGL_EMBED_LAUNCH_ID",
    "SGLANG_EMBED_LAUNCH_ID",  # SGLang copies what it takes for an old spelling of its own
    "TMPDIR",
}
"""Variables whose value is made anew at every start."""

NOTES = """
import json, os, multiprocessing

def note():
    folder = os.environ["TEST_NOTES"]
    name = "main" if multiprocessing.parent_process() is None else f"child-{os.getpid()}"
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump(dict(os.environ), file)
"""
"""A plugin of SGLang, which runs in each of its processes, that writes down the environment."""


@dataclass(frozen=True)
class Seen:
    """What was seen of a server until its scheduler was killed."""

    metrics: set[str]
    children: list[dict[str, str]]
    threads_of_fork_server: list[int]
    vector: list[float]
    death: str


def notes_plugin(folder: Path) -> None:
    info = folder / "notes-1.dist-info"
    info.mkdir(parents=True)
    (folder / "notes.py").write_text(NOTES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: notes\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[sglang.srt.plugins]\nnotes = notes:note\n")


def subject_of(model: Path, *, fast: bool, env: dict[str, str]) -> Subject:
    content: dict[str, Any] = {
        "model": {"path": str(model)},
        "server": {"port": free_port()},
        "hardware": {"device": "cpu"},
        "limits": {"context_length": 512, "max_total_tokens": 16384},
        "launch": {"fast_start": fast},
        "sglang": {"extra_args": {"enable-metrics": True, "random-seed": 1}},
        "env": env,
    }
    return Subject.of(Profile.model_validate(content), find_installed(), RealMachine())


def see(folder: Path, model: Path, *, fast: bool) -> Seen:
    """Start a server, look at it, kill its scheduler, and return what was seen."""
    notes_plugin(folder / "site")
    env = {
        "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "TEST_NOTES": str(folder),
    }
    with running_server(subject_of(model, fast=fast, env=env)) as server:
        ready = server.wait_until_ready(nobody)
        asked = {"model": ready.model, "input": "Apples are a fruit"}
        answer = httpx.post(f"{ready.url}/v1/embeddings", json=asked, timeout=60).json()
        metrics = metrics_of(ready.url)
        processes = psutil.Process(ready.pid).children(recursive=True)
        fork_servers = [p for p in processes if "multiprocessing.forkserver" in str(p.cmdline())]
        threads = [p.num_threads() for p in fork_servers]
        (scheduler,) = [p for p in processes if p.cmdline()[:1] == ["sglang::scheduler"]]
        scheduler.send_signal(signal.SIGKILL)
        with pytest.raises(ServerDiedError) as caught:
            server.wait()
    return Seen(
        metrics,
        [json.loads(path.read_text()) for path in folder.glob("child-*.json")],
        threads,
        answer["data"][0]["embedding"],
        told(caught.value),
    )


def metrics_of(url: str) -> set[str]:
    """Return the names of a server's metrics, once the last to come is among them."""
    last, deadline = "sglang:process_cpu_seconds_total", time.monotonic() + 60
    while True:
        text = httpx.get(f"{url}/metrics", timeout=60).text
        names = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
        if last in names or time.monotonic() > deadline:
            return names
        time.sleep(0.5)  # it counts every five seconds (srt/observability/cpu_monitor.py)


def told(error: KitError) -> str:
    """Return all that is said of an error, the same for every log."""
    text = f"{error.what} {error.why} {error.cure}"
    return re.sub(r"/\S+\.log|\[[\d: -]+\]|pid=\d+", "…", text)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Seen, Seen]:
    """A server that was started fast, and one that was started the plain way."""
    make = tmp_path_factory.mktemp
    return (
        see(make("fast"), tiny_folder, fast=True),
        see(make("plain"), tiny_folder, fast=False),
    )


def test_the_fork_server_forks_before_it_has_threads(seen: tuple[Seen, Seen]) -> None:
    fast, plain = seen
    assert fast.threads_of_fork_server == [1]
    assert plain.threads_of_fork_server == []


def test_the_vectors_are_the_same(seen: tuple[Seen, Seen]) -> None:
    fast, plain = seen
    assert fast.vector == plain.vector


def test_the_metrics_have_the_same_names(seen: tuple[Seen, Seen]) -> None:
    fast, plain = seen
    assert "sglang:num_queue_reqs" in plain.metrics
    assert fast.metrics == plain.metrics


def test_each_child_has_the_same_environment(seen: tuple[Seen, Seen]) -> None:
    fast, plain = seen
    assert len(fast.children) == len(plain.children) == 2

    differing = {*OF_EACH_START, "TEST_NOTES", "PYTHONPATH"}

    def lasting(child: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in child.items() if name not in differing}

    for child in [*fast.children, *plain.children]:
        assert child.keys() >= OF_EACH_START
        assert lasting(child) == lasting(plain.children[0])


def test_a_killed_scheduler_is_told_alike(seen: tuple[Seen, Seen]) -> None:
    fast, plain = seen
    assert "killed by signal 9" in plain.death
    assert fast.death == plain.death


def test_a_scheduler_that_raises_is_told_alike(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel())
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    deaths = []
    for fast in (True, False):
        with running_server(subject_of(tmp_path / "m", fast=fast, env={})) as server:
            with pytest.raises(ServerDiedError) as caught:
                server.wait()
            deaths.append(told(caught.value))
    assert "killed by signal 9" in deaths[0]
    assert "Safetensor" in deaths[0]
    assert deaths[0] == deaths[1]
