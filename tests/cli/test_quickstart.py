"""`sgl-embed quickstart` against the real SGLang: as subprocesses, as a user runs it."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from sgl_embed_kit.launch.quickstart import ENGLISH
from sgl_embed_kit.model.source import locate
from tests.conftest import START_LIMIT, free_port, processes_with, run_process, sgl_embed
from tests.fakehub import FakeHub
from tests.machines import UNREACHABLE

pytestmark = pytest.mark.server

LIMIT = START_LIMIT


@pytest.fixture(scope="module")
def mark() -> str:
    """A value in the environment by which everything that was started is found again."""
    return f"quickstart-{os.getpid()}"


@dataclass
class Running:
    """A quickstart under way, and what it has printed so far."""

    process: subprocess.Popen[bytes]
    output: Path

    def wait_for(self, text: str) -> str:
        """Wait until `text` was printed; return everything printed."""
        deadline = time.monotonic() + LIMIT
        while text not in (printed := self.output.read_text(encoding="utf-8")):
            assert self.process.poll() is None, printed
            assert time.monotonic() < deadline, printed
            time.sleep(0.1)
        return printed


@pytest.fixture
def quickstart(tmp_path: Path, mark: str) -> Iterator[Running]:
    """Quickstart with the tiny model, as it begins."""
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            sgl_embed("quickstart", "--model", "tiny:", "--port", str(free_port())),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SGL_EMBED_TEST": mark},
        )
    yield Running(process, output)
    process.kill()
    process.wait()


def matrix(output: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the cosines of the table that quickstart printed."""
    rows = re.findall(r"^  \d .*?((?:\s+-?\d\.\d\d){6})$", output, re.MULTILINE)
    return np.array([row.split() for row in rows], dtype=np.float32)


def test_without_a_hub_fruit_is_closer_to_fruit_than_to_programming_languages(mark: str) -> None:
    locate("demo:all-minilm-l6-v2").make()  # other tests share it; only its use is shown here
    done = run_process(
        "quickstart", "--once", "--port", str(free_port()),
        HF_ENDPOINT=UNREACHABLE, SGL_EMBED_TEST=mark,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert processes_with(mark) == []
    assert f"{UNREACHABLE} cannot be reached" in " ".join(done.stderr.split())
    assert "export HF_ENDPOINT=https://your-mirror" in done.stderr
    assert "384 dimensions, norms 1.0000 to 1.0000" in done.stdout
    assert all(sentence in done.stdout for sentence in ENGLISH)
    cosines = matrix(done.stdout)
    assert cosines.shape == (6, 6)
    assert np.allclose(np.diag(cosines), 1)
    fruit, languages, across = cosines[:3, :3], cosines[3:, 3:], cosines[:3, 3:]
    assert min(fruit.min(), languages.min()) > across.max()
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_with_a_hub_it_downloads_and_serves_the_qwen_repository(tmp_path: Path, mark: str) -> None:
    with FakeHub(tmp_path / "hub") as hub:
        done = run_process(
            "quickstart", "--once", "--port", str(free_port()),
            HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"), SGL_EMBED_TEST=mark,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no GPU, and the mirror in HF_ENDPOINT is in reach" in done.stderr
    assert "qwen3-embedding-0.6b at http://127.0.0.1:" in done.stdout
    assert "1024 dimensions" in done.stdout
    assert "苹果是一种水果" in done.stdout
    assert matrix(done.stdout).shape == (6, 6)
    assert processes_with(mark) == []


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("stage", ["Choosing a model", "Bringing the model"])
def test_ctrl_c_while_waiting_for_the_network_leaves_nothing(
    silent: str, tmp_path: Path, mark: str, stage: str
) -> None:
    hub = silent if stage == "Choosing a model" else UNREACHABLE
    output, cache = tmp_path / "output", tmp_path / "cache"
    with output.open("wb") as file:
        process = subprocess.Popen(
            sgl_embed("quickstart", "--port", str(free_port())),
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "SGL_EMBED_TEST": mark,
                "SGL_EMBED_CACHE": str(cache),
                "HF_ENDPOINT": hub,
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_INDEX_URL": silent,
                "PIP_NO_CACHE_DIR": "1",
            },
        )
    Running(process, output).wait_for(stage)
    time.sleep(1)  # into the stage
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT) == 130
    assert output.read_text().endswith("interrupted\n")
    assert "Traceback" not in output.read_text()
    assert [path for path in cache.rglob("*") if path.name != "models"] == []
    assert processes_with(mark) == []


@pytest.mark.parametrize("stage", ["Importing SGLang", "Starting the scheduler"])
def test_ctrl_c_during_the_start_leaves_no_process(
    quickstart: Running, mark: str, stage: str
) -> None:
    quickstart.wait_for(stage)
    time.sleep(2)  # into the stage
    quickstart.process.send_signal(signal.SIGINT)
    assert quickstart.process.wait(LIMIT) == 130
    assert "Traceback" not in quickstart.output.read_text()
    assert processes_with(mark) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_asked_to_stop_and_its_lines_can_be_pasted(
    quickstart: Running, mark: str, number: signal.Signals
) -> None:
    printed = quickstart.wait_for("Serving until Ctrl-C.")
    if number is signal.SIGINT:
        lines = printed.split("Ask it yourself:")[1].split("Serving until")[0]
        curl, sdk = lines.strip().split("\n\n")
        assert '"embedding":[' in _shell(curl)
        assert len(re.findall(r"-?\d\.\d+", _shell(sdk))) == 4
    quickstart.process.send_signal(number)
    assert quickstart.process.wait(LIMIT) == 0
    assert processes_with(mark) == []


def _shell(lines: str) -> str:
    done = subprocess.run(
        ["bash", "-c", lines], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_that_dies_ends_it_with_code_3(quickstart: Running, mark: str) -> None:
    quickstart.wait_for("Starting the scheduler")
    (server,) = (p for p in processes_with(mark) if _leads(p) and not _keeps(p))
    server.kill()
    assert quickstart.process.wait(LIMIT) == 3
    printed = quickstart.output.read_text()
    assert "error: The server was killed by signal 9." in printed
    assert "killed by signal 9, from outside" in printed
    log = Path(printed.split("Its log:")[1].split()[0])
    assert log.is_file()
    assert processes_with(mark) == []


def _keeps(process: psutil.Process) -> bool:
    return any(word.endswith("keeper.py") for word in process.cmdline())


def _leads(process: psutil.Process) -> bool:
    return os.getsid(process.pid) == process.pid
