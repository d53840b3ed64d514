"""One server as a group of processes, with small programs in the server's place."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.process import ServerProcess, log_file
from sgl_embed_kit.sglang.command import Command

LIMIT = 20.0
Start = Callable[[str], ServerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a Python program as a server; whatever is left of it is killed at the end."""
    started: list[ServerProcess] = []

    def start_program(code: str) -> ServerProcess:
        program = tmp_path / f"program-{len(started)}"
        program.write_text(f"#!{sys.executable}\n{code}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        log = tmp_path / f"log-{len(started)}"
        server = ServerProcess(Command(("sglang", "serve"), {"MARK": "1"}), program, log)
        started.append(server)
        return server

    yield start_program
    for server in started:
        server.stop(0)


def wait_for_line(server: ServerProcess, text: str) -> str:
    """Return the first line of the log that contains `text`."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        for line in server.end_of_log().splitlines():
            if text in line:
                return line
        time.sleep(0.02)
    raise AssertionError(f"no line with {text!r} in {server.end_of_log()!r}")


def test_output_goes_to_the_log_and_comes_back_in_whole_lines(start: Start) -> None:
    server = start(
        "import os, sys, time\n"
        "print('one', sys.argv[1], os.environ['MARK'], flush=True)\n"
        "print('tw', end='', flush=True); time.sleep(0.5); print('o', file=sys.stderr)\n"
        "time.sleep(60)"
    )
    reader = server.output.reader()
    wait_for_line(server, "one")
    assert [line.text for line in reader.new_lines()] == ["one serve 1"]
    assert reader.new_lines() == []
    wait_for_line(server, "two")
    assert [line.text for line in reader.new_lines()] == ["two"]
    assert server.log.read_text() == "one serve 1\ntwo\n"
    assert stat.S_IMODE(server.log.stat().st_mode) == 0o600


def test_a_polite_server_is_stopped_by_sigterm_alone(start: Start) -> None:
    server = start(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('drained', flush=True), sys.exit(0)))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    wait_for_line(server, "up")
    server.stop(LIMIT)
    assert server.exit_status() == 0
    assert "drained" in server.end_of_log()


def test_a_stubborn_server_is_killed_after_its_grace(start: Start) -> None:
    server = start(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    wait_for_line(server, "up")
    server.stop(0.2)
    assert server.exit_status() == -signal.SIGKILL


CHILDREN = """
import os, signal, subprocess, sys, time
sleep = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); "
         "print('child up', flush=True); time.sleep(60)"]
one = subprocess.Popen(sleep)
two = subprocess.Popen(sleep, start_new_session=True)  # leaves the group
print("children", one.pid, two.pid, flush=True)
time.sleep(60)
"""


def test_no_child_survives_not_even_one_that_left_the_group(start: Start) -> None:
    server = start(CHILDREN)
    pids = [int(pid) for pid in wait_for_line(server, "children ").split()[1:]]
    children = [psutil.Process(pid) for pid in pids]
    server.stop(LIMIT)
    _, alive = psutil.wait_procs(children, timeout=LIMIT)
    assert alive == []


def test_children_of_a_server_that_died_by_itself_are_killed_too(start: Start) -> None:
    server = start(CHILDREN.replace("time.sleep(60)\n", "os._exit(3)\n"))
    pid = int(wait_for_line(server, "children ").split()[1])
    child = psutil.Process(pid)
    deadline = time.monotonic() + LIMIT
    while server.exit_status() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.exit_status() == 3
    server.stop(LIMIT)
    assert psutil.wait_procs([child], timeout=LIMIT)[1] == []


def test_a_second_interrupt_ends_the_waiting(start: Start) -> None:
    server = start(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    wait_for_line(server, "up")
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    begun = time.monotonic()
    server.stop(LIMIT)
    assert time.monotonic() - begun < LIMIT
    assert server.exit_status() == -signal.SIGKILL


def test_stopping_twice_is_harmless(start: Start) -> None:
    server = start("import time; time.sleep(60)")
    server.stop(LIMIT)
    server.stop(LIMIT)
    assert server.exit_status() == -signal.SIGTERM


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(start: Start) -> None:
    server = start("import time; print('up', flush=True); time.sleep(60)")
    wait_for_line(server, "up")
    assert os.getpgid(server.pid) == server.pid != os.getpgid(0)
    assert os.getsid(server.pid) == server.pid


def test_the_programs_of_the_servers_environment_come_first(start: Start) -> None:
    server = start("import os\nprint('path', os.environ['PATH'], flush=True)\n")
    folders = wait_for_line(server, "path ").removeprefix("path ").split(os.pathsep)
    assert folders[0] == str(server.log.parent)
    assert os.pathsep.join(folders[1:]) == os.environ["PATH"]


LAUNCHER = """
import sys, time
from pathlib import Path
from typing import Any
from sgl_embed_kit.launch.process import ServerProcess
from sgl_embed_kit.sglang.command import Command
folder = Path(sys.argv[1])
server = ServerProcess(Command(("sglang", "serve"), {}), folder / "program", folder / "log")
print(server.pid, flush=True)
time.sleep(60)
"""


def test_a_server_ends_with_its_launcher_even_if_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    argv = [sys.executable, "-c", LAUNCHER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        server = psutil.Process(int(launcher.stdout.readline()))
        assert server.is_running()
        launcher.kill()
        assert psutil.wait_procs([server], timeout=5)[1] == []


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    command = Command(("sglang", "serve"), {})
    with pytest.raises(KitError, match="could not be started"):
        ServerProcess(command, tmp_path / "no-such-program", tmp_path / "log")


def test_logs_lie_in_a_private_folder_under_a_safe_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    path = log_file("../evil name\n")
    assert path.parent == tmp_path / "state" / "logs"
    assert path.name.startswith("..-evil-name-")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_log_folder_that_cannot_be_made_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "file" / "state"))
    with pytest.raises(KitError, match="log folder"):
        log_file("x")


def test_a_program_that_cannot_be_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
    program = tmp_path / "program"
    program.write_text("no program\n")
    program.chmod(0o755)
    with pytest.raises(KitError, match="could not be started") as caught:
        ServerProcess(Command(("sglang", "serve"), {}), program, tmp_path / "log")
    assert caught.value.why == f"{program}: Exec format error"
    assert list((tmp_path / "t").iterdir()) == []


def test_a_stop_signal_during_the_start_leaves_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    popen = subprocess.Popen

    def interrupted(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started: subprocess.Popen[bytes] = popen(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGINT)
        return started

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(subprocess, "Popen", interrupted)
        ServerProcess(Command(("sglang", "serve"), {}), program, tmp_path / "log")
    assert psutil.Process().children() == []
    assert list(tmp_path.glob("sgl-embed-run-*")) == []
