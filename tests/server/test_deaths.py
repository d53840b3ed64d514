"""Real servers die of what users do to them, and each death is explained by its first cause."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psutil
import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.death import Death, explain_death
from sgl_embed_kit.sglang.diagnosis import diagnose
from sgl_embed_kit.sglang.installed import find_installed
from sgl_embed_kit.sglang.log import READY
from sgl_embed_kit.sglang.problems import problems
from tests.conftest import START_LIMIT, cpu_argv, free_port
from tests.real_sglang import Sglang, sglang

pytestmark = pytest.mark.server

WEIGHTS = "model.safetensors"


class Server:
    """A server that was started as its profile says, and nothing else of the toolkit's."""

    def __init__(self, folder: Path, model: Path, **limits: Any) -> None:
        self.port = free_port()
        content = {
            "model": {"path": str(model)},
            "server": {"port": self.port},
            "hardware": {"device": "cpu"},
            "limits": limits or {"context_length": 512, "max_total_tokens": 4096},
            "guard": {"enabled": False},
        }
        subject = Subject.of(Profile.model_validate(content), find_installed(), RealMachine())
        command = subject.command()
        assert subject.installed is not None
        program = sys.executable if command.argv[0] == "python" else subject.installed.command
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(program), *command.argv[1:]],
                env={**os.environ, **command.env, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + START_LIMIT
        while text not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None, self.log.read_text(errors="replace")
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def death(self, *, was_ready: bool = False) -> Death:
        """Wait for its end and return how that is explained."""
        status = self.process.wait(START_LIMIT)
        with self.log.open("rb") as log:
            return explain_death(log, status, was_ready, None)

    def found(self) -> set[str]:
        with self.log.open("rb") as log:
            return {diagnosis.problem.id for diagnosis in diagnose(log)}


@contextmanager
def started(folder: Path, model: Path, **limits: Any) -> Iterator[Server]:
    server = Server(folder, model, **limits)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()


def means(rule: str) -> str:
    return next(problem.means for problem in problems() if problem.id == rule)


@pytest.fixture
def model(tmp_path: Path, tiny_folder: Path) -> Path:
    """A tiny model of a test's own, to be broken."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "m"))


# What a start does before its first child process, in one process that has imported SGLang.
MAIN = """
import contextlib, io, sys, traceback
from sglang.srt.arg_groups.overrides import resolved_view
from sglang.srt.configs.model_config import ModelConfig
from sglang.srt.server_args import prepare_server_args
from sglang.srt.utils.hf_transformers_utils import get_tokenizer

def answer(argv):
    said = io.StringIO()
    sys.argv[0] = "sglang serve"
    with contextlib.redirect_stderr(said):
        try:
            arguments = prepare_server_args(argv)
            arguments.resolve_once()
            arguments.check_server_args()
            ModelConfig.from_server_args(arguments)
            get_tokenizer(arguments.model_path)
        except SystemExit:
            pass
        except Exception:
            traceback.print_exc()
    return {"log": said.getvalue()}
"""


@pytest.fixture(scope="module")
def main_process() -> Iterator[Sglang]:
    with sglang(MAIN) as process:
        yield process


def explained(process: Sglang, argv: list[str], tmp_path: Path) -> Death:
    log = tmp_path / "main.log"
    log.write_text(process.ask(argv)["log"])
    with log.open("rb") as file:
        return explain_death(file, 1, False, None)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (["--max-num-seqs", "4"], "wrong-flag"),
        (["--cuda-graph-max-bs", "4"], "ambiguous-flag"),
        (["--attention-backend", "warp"], "wrong-choice"),
        (["--context-length", "40000"], "context-above-model"),
        (["--served-model-name", "a:b"], "colon-in-name"),
        (["--chunked-prefill-size", "100", "--page-size", "64"], "chunk-and-page"),
    ],
)
def test_arguments_that_sglang_refuses(
    main_process: Sglang, tiny_folder: Path, tmp_path: Path, arguments: list[str], rule: str
) -> None:
    death = explained(main_process, [*cpu_argv(tiny_folder), *arguments], tmp_path)
    assert death.what == means(rule)
    assert not death.heals


def edit_config(model: Path, **values: object) -> None:
    file = model / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("break_it", "rule"),
    [
        (lambda model: edit_config(model, model_type="qwen9"), "model-type-unknown"),
        (lambda model: (model / "config.json").write_text("{"), "config-broken"),
        (lambda model: (model / "tokenizer.json").write_text('{"a": '), "tokenizer-broken"),
    ],
    ids=["model_type", "config", "tokenizer"],
)
def test_models_that_cannot_be_read(
    main_process: Sglang,
    model: Path,
    tmp_path: Path,
    break_it: Callable[[Path], object],
    rule: str,
) -> None:
    break_it(model)
    assert explained(main_process, cpu_argv(model), tmp_path).what == means(rule)


def test_kernels_without_a_driver(tmp_path: Path) -> None:
    env = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    argv = [sys.executable, "-c", "import sgl_kernel"]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=120, env=env)
    if done.returncode == 0:
        pytest.skip("This machine has a driver.")
    log = tmp_path / "server.log"
    log.write_bytes(done.stderr)
    with log.open("rb") as file:
        assert {d.problem.id for d in diagnose(file)} >= {"kernels-not-loaded", "libcuda-missing"}
        file.seek(0)
        assert explain_death(file, 1, False, None).what == means("libcuda-missing")


def test_weights_that_were_cut(model: Path, tmp_path: Path) -> None:
    weights = model / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with started(tmp_path, model) as server:
        death = server.death()
    assert death.what == means("weights-cut")
    assert server.found() >= {"weights-cut", "scheduler-exception", "child-failed"}
    assert not death.heals


def test_a_missing_shard(model: Path, tmp_path: Path) -> None:
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    (model / WEIGHTS).rename(model / names[0])
    index = {"metadata": {}, "weight_map": {"a.weight": names[0], "b.weight": names[1]}}
    (model / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with started(tmp_path, model) as server:
        death = server.death()
    assert death.what == means("shards-missing")
    assert names[1] in death.line


def test_a_memory_fraction_that_is_too_low(model: Path, tmp_path: Path) -> None:
    with started(tmp_path, model, context_length=512, mem_fraction_static=0.0001) as server:
        death = server.death()
    assert death.what == means("weights-fill-memory")
    assert death.cure.startswith("limits: {mem_fraction_static: 0.")


class Agreeing(BaseHTTPRequestHandler):
    """Another server, which says yes to whatever it is asked."""

    def do_GET(self) -> None:
        body = b'{"is_generation": false}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, *_args: object) -> None:
        pass


def test_a_port_that_is_taken_while_the_model_loads(model: Path, tmp_path: Path) -> None:
    with started(tmp_path, model) as server:
        server.wait_for("server_args=")
        with HTTPServer(("127.0.0.1", server.port), Agreeing) as other:
            Thread(target=other.serve_forever, daemon=True).start()
            death = server.death()
            other.shutdown()
    # SGLang's own first request was answered by the other server.
    assert READY in server.log.read_text(errors="replace")
    assert death.what == means("port-busy")
    assert death.heals


def test_a_scheduler_that_is_killed(model: Path, tmp_path: Path) -> None:
    with started(tmp_path, model, context_length=512, max_total_tokens=128) as server:
        server.wait_for(READY)
        children = psutil.Process(server.process.pid).children(recursive=True)
        (scheduler,) = [p for p in children if p.cmdline()[:1] == ["sglang::scheduler"]]
        scheduler.kill()
        death = server.death(was_ready=True)
    assert death.what == "A process of the server was killed by signal 9, from outside."
    assert "crashed with exit code -9" in death.line
    assert death.heals
    symptoms = {"process-crashed", "child-failed-serving"}
    assert server.found() >= {"pool-below-context", *symptoms}


def test_a_model_without_a_tokenizer(model: Path, tmp_path: Path) -> None:
    for file in model.glob("tokenizer*"):
        file.unlink()
    with started(tmp_path, model) as server:
        death = server.death()
    assert death.what == means("empty-input")
    assert "tokenizer-file-missing" in server.found()


def test_a_completion_request_without_the_guard(model: Path, tmp_path: Path) -> None:
    with started(tmp_path, model) as server:
        server.wait_for(READY)
        body = {"text": "Hello", "sampling_params": {"max_new_tokens": 4}}
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(f"http://127.0.0.1:{server.port}/generate", json=body, timeout=60)
        death = server.death(was_ready=True)
    assert death.what == means("generation-on-embedding-server")
    assert death.heals


def test_a_server_that_is_asked_to_end(model: Path, tmp_path: Path) -> None:
    with started(tmp_path, model) as server:
        server.wait_for(READY)
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert server.found() - {"model-module-skipped"} == {"asked-to-end", "draining"}
