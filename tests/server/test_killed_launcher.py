"""A launcher that is killed, and cannot stop its server any more, leaves no process behind."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import START_LIMIT, free_port, processes_with, sgl_embed

pytestmark = pytest.mark.server

LEFT_AFTER = 5.0


@pytest.mark.parametrize("line", ["  Importing SGLang", "  stop"], ids=["importing", "serving"])
def test_no_process_is_left_of_a_server_whose_launcher_is_killed(tmp_path: Path, line: str) -> None:
    profile, port = tmp_path / "p.yaml", free_port()
    profile.write_text(f"extends: tiny-cpu\nserver: {{port: {port}}}\n")
    mark, printed = f"killed-{port}", tmp_path / "printed"
    with printed.open("w") as output:
        launcher = subprocess.Popen(
            sgl_embed("launch", str(profile)),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SGL_EMBED_TEST": mark, "TMPDIR": str(tmp_path)},
        )
    try:
        deadline = time.monotonic() + START_LIMIT
        while line not in printed.read_text() and time.monotonic() < deadline:
            assert launcher.poll() is None, printed.read_text()
            time.sleep(0.1)
        time.sleep(2)
        assert len(processes_with(mark)) >= 2
    finally:
        launcher.kill()
        launcher.wait()
    deadline = time.monotonic() + LEFT_AFTER
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_with(mark) == []
