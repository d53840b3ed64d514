"""What all tests share: folders of their own, free ports, and the real servers.

Real servers are started once a session: MiniLM through the command line, as a user
starts it, and the tiny Qwen3 through the library.
"""

from __future__ import annotations

import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import psutil
import pytest

from sgl_embed_kit.cli.main import main
from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.event_json import JsonEvents
from sgl_embed_kit.launch.events import Ready
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.launch.signals import STOP_SIGNALS
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.real_sglang import PARSE, RESOLVE, RESOLVED, Sglang, sglang

ROOT = Path(__file__).parent.parent
START_LIMIT = 300
OUR_VARIABLES = ("SGL_EMBED_CACHE", "SGL_EMBED_STATE", "HF_ENDPOINT", "SGLANG_USE_MODELSCOPE")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure under CI: there, nothing may be missing."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def stop_signals_that_stop() -> Iterator[None]:
    """Let stop signals do what they do in a terminal.

    Whatever runs the tests in the background may ignore some, and each process inherits that.
    """
    with signals_as_before():
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield


@pytest.fixture(scope="session", autouse=True)
def private_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep cache and logs of all tests, and of what they start, out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        for name in OUR_VARIABLES:
            patch.delenv(name, raising=False)
        patch.setenv("SGL_EMBED_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SGL_EMBED_STATE", str(tmp_path_factory.mktemp("state")))
        patch.setenv("NO_COLOR", "1")
        yield


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on right now.

    Below those that the system and SGLang itself give away, which the doctor warns of.
    """
    while True:
        port = 10_000 + secrets.randbelow(10_000)  # Hypothesis seeds `random` alike everywhere
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def sgl_embed(*arguments: str) -> list[str]:
    """Return the argv that runs the command line of this environment."""
    return [sys.executable, "-m", "sgl_embed_kit.cli.main", *arguments]


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `sgl-embed` in this process, which has imported it, and return what came of it."""
    out, err = io.StringIO(), io.StringIO()
    with (
        signals_as_before(),  # a command that was asked to stop leaves them ignored
        mock.patch.dict(os.environ, env),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def signals_as_before() -> Iterator[None]:
    """Give the stop signals the handlers back that they had."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def run_process(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `sgl-embed` as a process of its own and return what came of it."""
    return subprocess.run(
        sgl_embed(*arguments),
        capture_output=True,
        text=True,
        timeout=START_LIMIT,
        check=False,
        env={**os.environ, **env},
    )


def processes_with(mark: str) -> list[psutil.Process]:
    """Return the living processes that carry `mark` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass(frozen=True)
class Launched:
    """A server that `sgl-embed launch` serves: its address and what was printed.

    `mark` is in the environment of all its processes.
    """

    url: str
    model: str
    profile: Path
    printed: str
    mark: str


@contextmanager
def launched(
    profile: Path, port: int, model: str, *, options: Sequence[str] = (), **env: str
) -> Iterator[Launched]:
    """Serve a profile as a user does, with `sgl-embed launch`, and stop it by Ctrl-C."""
    mark = f"{model}-{port}"
    process = subprocess.Popen(
        sgl_embed("launch", str(profile), *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **env, "SGL_EMBED_TEST": mark},
    )
    assert process.stdout is not None
    killer = threading.Timer(START_LIMIT, process.kill)
    killer.start()
    try:
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("  stop"):
                break
        else:
            pytest.fail(f"launch ended with {process.wait()} before it was ready:\n{printed}")
        killer.cancel()
        yield Launched(f"http://127.0.0.1:{port}", model, profile, "".join(printed), mark)
    finally:
        killer.cancel()
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
        process.stdout.close()
    assert status == 0, "launch ends with 0 when it is asked to stop"
    assert processes_with(mark) == []


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """all-MiniLM-L6-v2, started as a user starts it."""
    port = free_port()
    profile = tmp_path_factory.mktemp("profile") / "minilm-cpu.yaml"
    shipped = (ROOT / "profiles" / "minilm-cpu.yaml").read_text(encoding="utf-8")
    profile.write_text(f"{shipped}server:\n  port: {port}\n", encoding="utf-8")
    with launched(profile, port, "all-minilm-l6-v2") as server:
        yield server


@pytest.fixture(scope="session")
def sglang_parser() -> Iterator[Sglang]:
    """SGLang's real ArgumentParser."""
    with sglang(PARSE) as parser:
        yield parser


@pytest.fixture(scope="session")
def sglang_resolver(tiny_folder: Path) -> Iterator[Sglang]:
    """What SGLang makes of an argv before it starts: its resolution and all its checks."""
    with sglang(RESOLVE % (RESOLVED,)) as resolver:
        resolver.ask(cpu_argv(tiny_folder), in_place=True)
        yield resolver


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model; it stays as it is."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(folder, TinyModel())
    return folder


def cpu_argv(model: Path) -> list[str]:
    """Return the least that SGLang needs to know for a server on the CPU."""
    return [
        *("--model-path", str(model), "--is-embedding"),
        *("--device", "cpu", "--attention-backend", "torch_native"),
    ]


@pytest.fixture(scope="session")
def tiny_qwen_events() -> list[str]:
    """What was told of the start of `tiny_qwen`, a JSON object a line."""
    return []


@pytest.fixture(scope="session")
def tiny_qwen(tiny_qwen_events: list[str]) -> Iterator[Ready]:
    """The tiny random Qwen3, started through the library."""
    profile = load_profile("tiny-cpu").with_server(port=free_port())
    subject = Subject.of(profile, find_installed(), RealMachine())
    subject.source.make()
    with running_server(subject) as server:
        yield server.wait_until_ready(JsonEvents(tiny_qwen_events.append))
