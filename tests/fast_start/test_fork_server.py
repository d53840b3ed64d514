"""Forked children against spawned ones, with multiprocessing's real fork server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server runs on Linux")

BEGIN = """
import ctypes, json, multiprocessing, os, signal, sys, time
from multiprocessing import forkserver
from sgl_embed_kit.fast_start import children

def start(*preloaded):
    forkserver.set_forkserver_preload(["sgl_embed_kit.fast_start.fork_server", *preloaded])
    children.carry_environment()
    forkserver.ensure_running()
    multiprocessing.set_start_method("forkserver", force=True)

def run(target):
    child = multiprocessing.Process(target=target)
    child.start()
    return child
"""


def script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(BEGIN + text)
    return [sys.executable, str(path)]


def printed(folder: Path, text: str) -> str:
    done = subprocess.run(
        script(folder, text), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_a_child_has_its_parents_environment_as_of_its_start(tmp_path: Path) -> None:
    text = """
def show():
    print(json.dumps(dict(os.environ)))

if __name__ == "__main__":
    os.environ["GOES"] = "1"
    start()
    os.environ["COMES"] = "2"
    os.environ["PATH"] += ":/more"
    del os.environ["GOES"]
    print(json.dumps(dict(os.environ)), flush=True)
    run(show).join()
"""
    parent, child = map(json.loads, printed(tmp_path, text).splitlines())
    assert child == parent
    assert child["COMES"] == "2"
    assert "GOES" not in child


def test_a_child_that_fails_reaches_the_main_process(tmp_path: Path) -> None:
    text = """
def fail():
    assert signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL
    assert os.getppid() != int(sys.argv[1] if len(sys.argv) > 1 else 0)
    os.kill(os.getppid(), signal.SIGQUIT)

if __name__ == "__main__":
    start()
    heard = []
    signal.signal(signal.SIGQUIT, lambda *_: heard.append("the main process heard it"))
    run(fail).join()
    deadline = time.monotonic() + 20
    while not heard and time.monotonic() < deadline:
        time.sleep(0.05)
    print(*heard)
"""
    assert printed(tmp_path, text) == "the main process heard it\n"


def test_nothing_is_left_when_the_main_process_is_killed(tmp_path: Path) -> None:
    text = """
def sleep():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # as SGLang's children do
    print(json.dumps([os.getpid(), os.getppid()]), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    start()
    run(sleep).join()
"""
    with subprocess.Popen(script(tmp_path, text), stdout=subprocess.PIPE, text=True) as main:
        assert main.stdout is not None
        pids = json.loads(main.stdout.readline())
        others = [psutil.Process(pid) for pid in pids]
        main.kill()
        _, alive = psutil.wait_procs(others, timeout=5)
    assert main.pid not in pids
    assert alive == []


def test_metrics_go_where_the_environment_says_at_the_childs_start(tmp_path: Path) -> None:
    text = """
def count():
    from prometheus_client import Counter
    Counter("texts", "Texts.").inc()

if __name__ == "__main__":
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    start("prometheus_client")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.dirname(__file__)
    run(count).join()
"""
    pytest.importorskip("prometheus_client", reason="get it with: make test")
    printed(tmp_path, text)
    assert list(tmp_path.glob("counter_*.db"))


SGLANG = """
import multiprocessing, os, sys

def child():
    print("child", os.getpid(), flush=True)

def main():
    multiprocessing.set_start_method("spawn", force=True)
    one = multiprocessing.Process(target=child)
    one.start()
    one.join()
    print(sys.argv, multiprocessing.get_start_method(), one.exitcode, flush=True)
"""
"""Does what SGLang's own command does of multiprocessing."""


def fast_start(folder: Path, scheduler: str) -> subprocess.CompletedProcess[str]:
    """Run fast start with a package in SGLang's place, whose scheduler module is given."""
    for name, text in {
        "sglang/__init__.py": "",
        "sglang/cli/__init__.py": "",
        "sglang/cli/main.py": SGLANG,
        "sglang/srt/__init__.py": "",
        "sglang/srt/managers/__init__.py": "",
        "sglang/srt/managers/scheduler.py": scheduler,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-P", "-m", "sgl_embed_kit.fast_start", "serve", "--port", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_sglang_forks_where_it_wants_to_spawn(tmp_path: Path) -> None:
    done = fast_start(tmp_path, "")
    assert "['sglang', 'serve', '--port', '1'] forkserver 0" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "scheduler", ["import os; os._exit(3)", "raise ValueError('not this time')"]
)
def test_a_preload_that_fails_leads_to_a_plain_start_and_one_line(
    tmp_path: Path, scheduler: str
) -> None:
    done = fast_start(tmp_path, scheduler)
    assert "['sglang', 'serve', '--port', '1'] spawn 0" in done.stdout
    assert done.stderr.count("sgl-embed: no fast start, the plain way goes on: ") == 1


def test_a_module_that_is_not_there_any_more_only_costs_time(tmp_path: Path) -> None:
    done = fast_start(tmp_path, "import a_module_that_is_gone")
    assert "forkserver 0" in done.stdout
