"""A process is told from all others; signals reach it and nobody else."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgl_embed_kit.machine.process_id import ProcessId, process_id, started_at, tree_of
from tests.servers import own_id

Popen = subprocess.Popen[bytes]


@pytest.fixture
def sleeper() -> Iterator[Popen]:
    argv = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)", "a", "b c"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def id_of(process: Popen) -> ProcessId:
    found = process_id(process.pid)
    assert found is not None
    return found


def test_a_process_is_itself_until_it_ends(sleeper: Popen) -> None:
    found = id_of(sleeper)
    assert found.is_running()
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not found.is_running()  # a zombie, whose id is still taken
    assert process_id(sleeper.pid) is None
    assert not found.send(signal.SIGTERM)
    sleeper.wait()
    assert not found.is_running()
    assert not found.send(signal.SIGTERM)


@pytest.mark.parametrize(
    "change",
    [{"started": 1}, {"command": "other"}, {"words": 4}, {"words": 99}, {"pid": 2**22 + 1}],
)
@pytest.mark.parametrize("with_pidfd", [True, False])
def test_whatever_differs_it_gets_no_signal(
    sleeper: Popen, change: dict[str, object], with_pidfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    other = dataclasses.replace(id_of(sleeper), **change)  # type: ignore[arg-type]
    assert not other.is_running()
    assert not other.send(signal.SIGKILL)
    assert sleeper.poll() is None


@pytest.mark.parametrize("fault", ["none", "absent", "forbidden", "not sent"])
def test_a_signal_reaches_it_with_a_pidfd_or_without(
    sleeper: Popen, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> int:
        raise PermissionError

    if fault == "absent":
        monkeypatch.delattr(os, "pidfd_open")
    if fault == "forbidden":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    if fault == "not sent":
        monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert id_of(sleeper).send(signal.SIGTERM)
    assert sleeper.wait(20) == -signal.SIGTERM


def test_no_descriptor_is_left_open(sleeper: Popen) -> None:
    found, before = id_of(sleeper), len([*Path("/proc/self/fd").iterdir()])
    found.send(0)
    dataclasses.replace(found, started=1).send(0)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_program_may_be_known_by_what_it_will_become(sleeper: Popen) -> None:
    will_be, other = process_id(sleeper.pid, ["a", "b c"]), process_id(sleeper.pid, ["a", "b"])
    assert will_be is not None
    assert other is not None
    assert (will_be.words, will_be.started) == (2, id_of(sleeper).started)
    assert will_be.is_running()
    assert not other.is_running()


def test_one_whose_title_changes_is_known_by_its_start() -> None:
    found = process_id(os.getpid(), [])
    assert found is not None
    assert found.words == 0
    assert found.is_running()
    assert not dataclasses.replace(found, started=found.started + 1).is_running()


def test_arguments_may_be_empty_and_of_any_bytes() -> None:
    argv = [sys.executable, "-c", "print(flush=True); input()", "", "\udcff", ""]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = id_of(process)
        assert found.words == 6
        assert process_id(process.pid, ["\udcff", ""]).is_running()  # type: ignore[union-attr]
        process.kill()


def test_its_age_is_counted_from_its_start(sleeper: Popen) -> None:
    assert id_of(sleeper).age() <= own_id().age()
    assert dataclasses.replace(own_id(), started=0).age() == pytest.approx(
        time.clock_gettime(time.CLOCK_BOOTTIME), abs=5
    )


def test_which_signals_it_catches(sleeper: Popen) -> None:
    assert own_id().catches(signal.SIGINT)
    assert not id_of(sleeper).catches(signal.SIGTERM)
    assert not ProcessId(2**22 + 1, 1, 0, "").catches(signal.SIGTERM)


@pytest.mark.parametrize(
    ("mask", "catches"), [("4000", True), ("8000", False), ("2000", False), ("x", False)]
)
def test_the_mask_of_signals_is_read_as_the_kernel_writes_it(
    tmp_path: Path, mask: str, catches: bool
) -> None:
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "status").write_text(f"Name:\tx\nSigCgt:\t{mask}\n")
    assert ProcessId(9, 1, 0, "").catches(signal.SIGTERM, tmp_path) is catches


def test_a_commands_name_may_look_like_fields(tmp_path: Path) -> None:
    write(tmp_path, 9, name="(a) Z (b)", started=777)
    assert started_at(9, tmp_path) == 777


def write(
    proc: Path,
    pid: int,
    *,
    name: str = "x",
    state: str = "S",
    parent: int = 1,
    session: int = 1,
    started: int = 100,
) -> None:
    (proc / str(pid)).mkdir()
    fields = [state, parent, 0, session, *range(7, 22), started, 23]
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(map(str, fields))}\n")


def tree(proc: Path, *pids: int, session: int = 10) -> set[int]:
    roots = [found for pid in pids if (found := process_id(pid, [], proc)) is not None]
    return {one.pid for one in tree_of(roots, session, proc)}


def test_a_tree_is_its_descendants_and_its_session(tmp_path: Path) -> None:
    write(tmp_path, 10, session=10)
    write(tmp_path, 13, parent=14, session=99)  # a grandchild that left the session
    write(tmp_path, 14, parent=10, session=10)
    write(tmp_path, 15, session=10)  # its parent has ended
    write(tmp_path, 16, state="Z", parent=10, session=10)
    write(tmp_path, 17, session=17)
    assert tree(tmp_path, 10) == {10, 13, 14, 15}


def test_a_session_whose_known_members_are_gone_may_be_anothers(tmp_path: Path) -> None:
    write(tmp_path, 13, session=99)
    write(tmp_path, 15, session=10)
    assert tree(tmp_path, 13) == {13}
    assert tree(tmp_path, 15) == {15}
    gone = ProcessId(10, 1, 0, "")
    assert tree_of([gone], 10, tmp_path) == []
