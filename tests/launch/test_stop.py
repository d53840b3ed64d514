"""All of `sgl-embed launch` is asked to stop, with a small program in SGLang's place."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from sgl_embed_kit.launch.events import nobody
from sgl_embed_kit.launch.server import running_server
from tests.conftest import processes_with
from tests.launch.launching import LIMIT, Launcher, launching, subject_of
from tests.launch.pid1 import WAYS_TO_BE_PROCESS_1, process_1

SERVES = "  stop "
ALL = 4
"""Processes of a stand-in without a daemon: launcher, keeper, the stand-in and its child."""

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextmanager
def asking(launcher: Launcher, text: str) -> Iterator[list[int]]:
    """Ask for an embedding meanwhile; the list gets the answer's status, if there is one."""
    statuses: list[int] = []

    def ask() -> None:
        url = f"http://127.0.0.1:{launcher.port}/v1/embeddings"
        with suppress(httpx.TransportError):
            answer = httpx.post(url, json={"model": "m", "input": text}, timeout=LIMIT)
            statuses.append(answer.status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    deadline = time.monotonic() + LIMIT
    while f"asked for {text}" not in launcher.logged() and time.monotonic() < deadline:
        time.sleep(0.05)
    yield statuses
    thread.join(LIMIT)


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize(("how", "line"), [("slow", "Importing SGLang"), ("", SERVES)])
def test_a_launch_that_is_asked_to_stop_ends_well(
    tmp_path: Path, number: signal.Signals, how: str, line: str
) -> None:
    with launching(tmp_path, how=how) as launcher:
        launcher.wait_for(line)
        launcher.wait_for_processes(ALL)
        assert launcher.ends_with(number) == 0, launcher.text
        assert launcher.leaves_nothing()
        assert "cut" not in launcher.text


def test_what_left_group_session_and_parents_is_ended_too(tmp_path: Path) -> None:
    with launching(tmp_path, how="daemon") as launcher:
        launcher.wait_for(SERVES)
        processes = launcher.wait_for_processes(ALL + 1)
        sessions = {os.getsid(process.pid) for process in processes}
        assert len(sessions) == 4  # of the launcher, the keeper, the server and the daemon
        assert launcher.ends_with(signal.SIGTERM) == 0
        assert launcher.leaves_nothing()


def test_what_has_left_its_environment_too_is_ended(tmp_path: Path) -> None:
    with launching(tmp_path, how="daemon bare") as launcher:
        launcher.wait_for(SERVES)
        below = {process.pid for process in processes_with(launcher.mark)}
        keeper = launcher.process.pid
        bare = [
            process
            for process in psutil.Process(keeper).children(recursive=True)
            if process.pid not in below
        ]
        assert len(bare) == 1
        assert launcher.ends_with(signal.SIGTERM) == 0
        assert psutil.wait_procs(bare, timeout=0)[1] == []


@pytest.mark.parametrize("times", [2, 3, 6])
def test_asked_again_it_kills_at_once_and_asked_more_often_no_harm_is_done(
    tmp_path: Path, times: int
) -> None:
    with launching(tmp_path, how="stubborn daemon", drain=600) as launcher:
        launcher.wait_for(SERVES)
        signals = [STOP_SIGNALS[index % 2] for index in range(times)]
        assert launcher.ends_with(*signals, every=0.2) == 0, launcher.text
        assert launcher.leaves_nothing()
        assert "Traceback" not in launcher.text


def test_a_request_in_flight_is_answered(tmp_path: Path) -> None:
    with launching(tmp_path) as launcher:
        launcher.wait_for(SERVES)
        with asking(launcher, "wait 2") as statuses:
            assert launcher.ends_with(signal.SIGTERM) == 0
        assert statuses == [200]
        assert "cut" not in launcher.text
        assert launcher.leaves_nothing()


def test_a_request_that_takes_longer_is_cut_and_said(tmp_path: Path) -> None:
    with launching(tmp_path, drain=1) as launcher:
        launcher.wait_for(SERVES)
        with asking(launcher, "wait 60") as statuses:
            assert launcher.ends_with(signal.SIGTERM) == 0
        assert statuses == []
        assert "Killed before it had ended: 1 request was cut." in launcher.text
        assert launcher.leaves_nothing()


def test_requests_that_were_not_counted_are_said_to_be_cut(tmp_path: Path) -> None:
    with launching(tmp_path, drain=0.5, how="stubborn") as launcher:
        launcher.wait_for(SERVES)
        assert launcher.ends_with(signal.SIGTERM) == 0
        assert "requests that were in flight were cut" in launcher.text


def test_a_server_that_ends_with_0_by_itself_has_died(tmp_path: Path) -> None:
    with launching(tmp_path, how="quits daemon") as launcher:
        assert launcher.process.wait(LIMIT) == 3
        assert "The server ended with status 0." in launcher.text
        assert launcher.leaves_nothing()


@pytest.mark.parametrize(("how", "line"), [("slow", "Importing SGLang"), ("", SERVES)])
def test_a_killed_launcher_leaves_nothing(tmp_path: Path, how: str, line: str) -> None:
    with launching(tmp_path, how=f"{how} daemon stubborn") as launcher:
        launcher.wait_for(line)
        launcher.wait_for_processes(ALL + 1)
        launcher.process.kill()
        assert launcher.leaves_nothing(within=5)


def test_a_killed_keeper_is_a_dead_server_and_leaves_nothing(tmp_path: Path) -> None:
    with launching(tmp_path, how="daemon stubborn") as launcher:
        launcher.wait_for(SERVES)
        launcher.wait_for_processes(ALL + 1)
        psutil.Process(launcher.server().ppid()).kill()
        assert launcher.process.wait(LIMIT) == 3
        assert launcher.leaves_nothing()


def test_the_next_launch_removes_what_is_left_when_both_were_killed(tmp_path: Path) -> None:
    with launching(tmp_path, how="daemon stubborn") as dead:
        dead.wait_for(SERVES)
        dead.wait_for_processes(ALL + 1)
        keeper = psutil.Process(dead.server().ppid())
        keeper.suspend()
        dead.process.kill()
        keeper.kill()
        dead.process.wait()
        assert not dead.leaves_nothing(within=0.5)
        with launching(tmp_path, temp=dead.temp) as other:
            other.wait_for(SERVES)
            (of_the_living,) = dead.temp.iterdir()
            assert other.ends_with(signal.SIGTERM) == 0
            assert not of_the_living.exists()
        assert dead.leaves_nothing()


@pytest.mark.parametrize("way", WAYS_TO_BE_PROCESS_1)
class TestAsProcess1:
    """As in a container: no other process is there to pass signals on or to wait."""

    def test_it_stops_well(self, tmp_path: Path, way: str) -> None:
        with launching(tmp_path, within=process_1(way), how="daemon") as launcher:
            launcher.wait_for(SERVES)
            self._first(launcher).send_signal(signal.SIGTERM)
            assert launcher.process.wait(LIMIT) == 0, launcher.text
            assert launcher.leaves_nothing()

    def test_asked_again_it_kills_at_once(self, tmp_path: Path, way: str) -> None:
        within = process_1(way)
        with launching(tmp_path, within=within, how="stubborn", drain=600) as launcher:
            launcher.wait_for(SERVES)
            for _ in range(3):
                with suppress(psutil.NoSuchProcess, IndexError):  # it may have ended already
                    self._first(launcher).send_signal(signal.SIGINT)
                time.sleep(0.2)
            assert launcher.process.wait(LIMIT) == 0, launcher.text
            assert launcher.leaves_nothing()

    def test_a_dead_server_is_never_0(self, tmp_path: Path, way: str) -> None:
        with launching(tmp_path, within=process_1(way), how="quits") as launcher:
            assert launcher.process.wait(LIMIT) == 3, launcher.text
            assert launcher.leaves_nothing()

    def test_a_killed_launcher_is_not_0_and_takes_everything_along(
        self, tmp_path: Path, way: str
    ) -> None:
        with launching(tmp_path, within=process_1(way), how="daemon stubborn") as launcher:
            launcher.wait_for(SERVES)
            (program,) = [
                child
                for child in self._first(launcher).children()
                if "keeper.py" not in " ".join(child.cmdline())
            ]
            program.kill()
            assert launcher.process.wait(LIMIT) == 128 + signal.SIGKILL
            deadline = time.monotonic() + LIMIT
            while processes_with(launcher.mark) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert processes_with(launcher.mark) == []

    def _first(self, launcher: Launcher) -> psutil.Process:
        """Return process 1, by the id that it has out here."""
        process = psutil.Process(launcher.process.pid)
        return process.children()[0] if process.name() == "unshare" else process


def test_twenty_servers_leave_no_process_file_thread_or_memory(tmp_path: Path) -> None:
    def held() -> tuple[object, ...]:
        return (
            sorted(os.listdir("/proc/self/fd")),  # noqa: PTH208
            threading.active_count(),
            psutil.Process().children(recursive=True),
        )

    (tmp_path / "t").mkdir()
    subject = subject_of(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path / "t"))
        before = None
        made: set[Path] = set()
        for number in range(21):
            if number == 1:  # the first one has made what lasts, such as imports
                before = held()
            with running_server(subject) as server:
                server.wait_until_ready(nobody)
                if number % 2:
                    server.stop()
            lines = server.process.end_of_log().splitlines()
            made.update(Path(line.split()[1]) for line in lines if line.startswith("made "))
    assert held() == before
    assert len(made) == 42
    assert [path for path in made if path.exists()] == []
    assert list((tmp_path / "t").iterdir()) == []


def test_a_terminal_that_is_closed_stops_it(tmp_path: Path) -> None:
    master, slave = os.openpty()
    with launching(tmp_path, terminal=slave) as launcher:
        os.close(slave)
        shown = b""
        while SERVES.encode() not in shown:
            shown += os.read(master, 4096)
        os.close(master)  # its session's leader gets SIGHUP, and writing fails
        launcher.process.send_signal(signal.SIGHUP)
        assert launcher.process.wait(LIMIT) == 0
        assert launcher.leaves_nothing()


def test_under_nohup_a_closed_terminal_is_no_matter(tmp_path: Path) -> None:
    with launching(tmp_path, within=("nohup",)) as launcher:
        launcher.wait_for(SERVES)
        launcher.process.send_signal(signal.SIGHUP)
        with asking(launcher, "text") as statuses:
            pass
        assert statuses == [200]
        assert launcher.ends_with(signal.SIGTERM) == 0


DOWNLOAD = """
import sys, time
from sgl_embed_kit.cli import launch, main
from tests.launch.launching import installed_stand_in

def never_ends(*_):
    print("downloading", flush=True)
    time.sleep(60)

launch.find_installed = lambda: installed_stand_in(sys.executable)
launch.bring_files = never_ends
main.main(["launch", "tiny-cpu"])
"""


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_it_stops_while_it_fetches_a_model(number: signal.Signals) -> None:
    argv = [sys.executable, "-c", DOWNLOAD]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert "downloading" in launcher.stdout.readline()
        launcher.send_signal(number)
        assert launcher.wait(LIMIT) == 0
