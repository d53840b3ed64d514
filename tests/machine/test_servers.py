"""Records of running servers: written, found, removed, and known to be stale."""

import dataclasses
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.folders import state_folder
from sgl_embed_kit.machine import RealMachine, ServerRecord
from sgl_embed_kit.machine.servers import forget, remember, running_servers, started_at


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path))
    return tmp_path / "servers"


def own_record() -> ServerRecord:
    started = started_at(os.getpid())
    assert started is not None
    return ServerRecord(os.getpid(), started, "127.0.0.1", 30000, "mine", "tiny:", "/x.log")


def test_a_server_is_found_while_it_is_remembered(state: Path) -> None:
    record = own_record()
    assert running_servers() == ()
    remember(record)
    assert running_servers() == RealMachine().servers() == (record,)
    (file,) = state.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    forget(record)
    assert running_servers() == ()
    forget(record)


def test_a_record_of_a_process_that_ended_is_removed(state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = started_at(process.pid)
        assert started is not None
        remember(dataclasses.replace(own_record(), pid=process.pid, started=started))
        assert [one.pid for one in running_servers()] == [process.pid]
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert started_at(process.pid) is None  # a zombie, whose id is still taken
        assert running_servers() == ()
    assert not [*state.iterdir()]


def test_another_process_with_the_same_id_is_another_server(state: Path) -> None:
    record = own_record()
    remember(dataclasses.replace(record, started=record.started + 1))
    assert running_servers() == ()
    assert not [*state.iterdir()]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', "\udcff"])
def test_what_is_no_record_is_passed_over(state: Path, content: str) -> None:
    remember(own_record())
    (state / "1.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert [one.name for one in running_servers()] == ["mine"]


def test_a_record_of_later_days_with_more_in_it_is_passed_over(state: Path) -> None:
    remember(own_record())
    more = dataclasses.asdict(own_record()) | {"new": 1}
    (state / "1.json").write_text(json.dumps(more))
    assert len(running_servers()) == 1


def test_a_folder_that_cannot_be_written_stops_no_server(state: Path) -> None:
    state.parent.mkdir(exist_ok=True)
    state.write_text("a file in its place")
    remember(own_record())
    assert running_servers() == ()
    forget(own_record())


def test_a_commands_name_may_look_like_fields(tmp_path: Path) -> None:
    fields = " ".join(["S", *map(str, range(4, 22)), "777", "23"])
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "stat").write_text(f"9 (a) Z (b)) {fields}\n")
    assert started_at(9, tmp_path) == 777


def test_the_state_folder_holds_them() -> None:
    remember(own_record())
    assert (state_folder() / "servers" / f"{os.getpid()}.json").is_file()
    forget(own_record())
