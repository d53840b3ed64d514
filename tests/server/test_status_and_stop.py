"""A server that runs in the background: seen, not started twice, read, and stopped."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import START_LIMIT, free_port, processes_with, run, sgl_embed

pytestmark = pytest.mark.server


def status(name: str) -> dict[str, object]:
    done = run("status", "--name", name, "--format", "json")
    assert done.returncode == 0, done.stderr
    (server,) = json.loads(done.stdout)["servers"]
    assert isinstance(server, dict)
    return server


def test_a_server_is_found_and_stopped_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    port = free_port()
    profile, mark = tmp_path / "mine.yaml", f"status-{port}"
    profile.write_text(f"extends: tiny-cpu\nserver: {{port: {port}}}\n")
    with (tmp_path / "printed").open("w") as output:
        launcher = subprocess.Popen(
            sgl_embed("launch", str(profile)),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SGL_EMBED_TEST": mark},
        )
    try:
        deadline = time.monotonic() + START_LIMIT
        while run("status", "--name", "mine").returncode != 0:
            assert launcher.poll() is None, (tmp_path / "printed").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert not status("mine")["ready"]

        again = run("launch", str(profile))
        assert again.returncode == 1
        assert f"error: mine runs already at http://127.0.0.1:{port} (" in again.stderr
        assert again.stderr.endswith(f"  cure: sgl-embed stop {port}\n")

        states = []
        while not (server := status("mine"))["ready"]:
            if server["state"] not in states:
                states.append(server["state"])
            assert launcher.poll() is None, (tmp_path / "printed").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert "Importing SGLang" in states
        assert (server["launcher_pid"], server["port"]) == (launcher.pid, port)
        assert server["name"] == "tiny-qwen3-embedding"

        asked = run("status", "--url", f"http://127.0.0.1:{port}", "--format", "json")
        told = json.loads(asked.stdout)
        assert told["asked"]["dimension"] == 128
        assert [one["pid"] for one in told["servers"]] == [server["pid"]]

        assert "Load weight begin" in run("logs", "mine", "-n", "10000").stdout
        assert len(run("logs", str(port), "-n", "3").stdout.splitlines()) == 3

        stopped = run("stop", "tiny-qwen3-embedding")
        assert stopped.returncode == 0, stopped.stderr
        assert " has ended after " in stopped.stdout
        assert launcher.wait(10) == 0
        assert processes_with(mark) == []
    finally:
        launcher.kill()
        launcher.wait()
    assert run("status", "--name", "mine").returncode == 1
    assert "Finished server process" in run("logs", "tiny-cpu").stdout
