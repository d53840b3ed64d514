"""What supervisors hear of a server, over a real socket, a real pipe and a real file."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.errors import UsageError
from sgl_embed_kit.launch import notify
from sgl_embed_kit.launch.events import PhaseBegan, Ready, Restarting, Stopped, Stopping
from sgl_embed_kit.launch.notify import ReadyFd, ReadyFile, Systemd, supervisors
from sgl_embed_kit.sglang.log import IMPORTING

READY = Ready(
    url="http://127.0.0.1:30000",
    model="m",
    dimension=128,
    seconds=12.0,
    phases=(),
    pid=4711,
    log=Path("log"),
)


def queue_length() -> int:
    """Return how many datagrams a socket holds that nobody reads."""
    return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: bytes | str, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": name}

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    if request.param == "path":
        made = Manager(str(tmp_path / "n"), str(tmp_path / "n"))
    else:
        name = f"sgl-embed-test-{os.getpid()}"
        made = Manager(f"\0{name}".encode(), f"@{name}")
    yield made
    made.close()


def test_systemd_hears_of_each_phase_of_ready_and_of_the_end(manager: Manager) -> None:
    with supervisors(manager.environment) as told:
        told.working("Checks", 60)
        follow = told.follower(600)
        assert manager.heard() == ["STATUS=Checks ...", "EXTEND_TIMEOUT_USEC=90000000"]
        follow(PhaseBegan(IMPORTING))
        assert manager.heard() == [
            "STATUS=Importing SGLang ...",
            "EXTEND_TIMEOUT_USEC=630000000",
        ]
        follow(READY)
        assert manager.heard() == [
            "STATUS=Serving m at http://127.0.0.1:30000",
            f"READY=1\nMAINPID={os.getpid()}",
        ]
        follow(Stopping(5.0))
        assert manager.heard() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=35000000"]
        follow(Stopped())
        assert manager.heard() == []
    assert manager.heard() == ["STOPPING=1"]


def test_systemd_hears_of_the_end_also_where_an_error_makes_it(manager: Manager) -> None:
    with pytest.raises(KeyboardInterrupt), supervisors(manager.environment):
        raise KeyboardInterrupt
    assert manager.heard() == ["STOPPING=1"]


def test_a_status_is_one_line(manager: Manager) -> None:
    Systemd.of(manager.environment).status("one\nREADY=1 two")
    assert manager.heard() == ["STATUS=one READY=1 two"]


@pytest.mark.parametrize("address", [None, "", "relative", "/nobody/listens/here", "vsock:2:1234"])
def test_without_a_manager_nothing_is_said_and_nothing_fails(address: str | None) -> None:
    systemd = Systemd(address)
    systemd.ready()
    systemd.stopping()
    assert Systemd.of({}).__dict__ == Systemd(None).__dict__


def test_a_manager_that_does_not_listen_holds_nobody_up(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "SEND_SECONDS", 0.01)
    systemd, most = Systemd.of(manager.environment), queue_length() + 3
    for _ in range(most):
        systemd.stopping()
    assert 0 < len(manager.heard()) < most


def test_the_descriptor_gets_a_newline_and_is_closed() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    with supervisors({}, fd=writing) as told:
        assert not os.get_inheritable(writing)
        told.follower(600)(READY)
        assert os.read(reading, 10) == b"\n"
        assert os.read(reading, 10) == b""
        told.follower(600)(READY)  # of the server that was started again
    os.close(reading)


def test_a_reader_that_is_gone_hurts_nobody() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    given = ReadyFd(writing)
    os.close(reading)
    given.ready()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writing)


def test_a_descriptor_that_nobody_gave_is_refused() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    for number in (reading, writing, 987):  # not to be written to, our own, none
        with pytest.raises(UsageError, match=f"There is no file descriptor {number}"):
            ReadyFd(number)
    os.close(reading)
    os.close(writing)


def test_the_file_is_there_while_the_server_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    with supervisors({}, file=path) as told:
        follow = told.follower(600)
        assert not path.exists()
        follow(READY)
        content = json.loads(path.read_text())
        assert content == {"url": "http://127.0.0.1:30000", "model": "m", "pid": 4711}
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        follow(Restarting("The server hung.", "", 1, 3, 2.0))
        assert not path.exists()
        follow(PhaseBegan(IMPORTING))
        assert not path.exists()
        follow(READY)
        follow(Stopping(1.0))
        assert not path.exists()
        follow(READY)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_launcher_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left, other = tmp_path / "left", tmp_path / "other"
    left.write_text('{"url": "u", "model": "m", "pid": 1}\n')
    ReadyFile(left)
    assert not left.exists()
    for content in ("my thesis", '{"a": 1}', "[]"):
        other.write_text(content)
        with pytest.raises(UsageError) as caught:
            ReadyFile(other)
        assert caught.value.why == "there is another file of this name"
        assert other.read_text() == content


@pytest.mark.parametrize("place", ["no/such/folder/ready", "."])
def test_a_file_that_cannot_be_written_is_told_before_anything_starts(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        ReadyFile(Path(place))
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ReadyFile(tmp_path / "ready")

    def full(*_arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    file.ready(READY)
    assert list(tmp_path.iterdir()) == []


def test_systemds_watchdog_hears_twice_in_its_time_however_often_it_is_told(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    systemd = Systemd.of({**manager.environment, "WATCHDOG_USEC": "20000000"})
    for seconds in (0.0, 9.9, 0.1, 5.0, 5.0):
        clock[0] += seconds
        systemd.alive()
    assert manager.heard() == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "much"},
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_watchdog_of_ours_nothing_is_sent(
    manager: Manager, environment: dict[str, str]
) -> None:
    Systemd.of({**manager.environment, **environment}).alive()
    assert manager.heard() == []
    ours = {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}
    Systemd.of({**manager.environment, **ours}).alive()
    assert manager.heard() == ["WATCHDOG=1"]
