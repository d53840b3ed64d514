"""Records of servers: written, kept up to date, found, removed, and believed only with proof."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.machine import servers as module
from sgl_embed_kit.machine.process_id import process_id
from sgl_embed_kit.machine.servers import (
    AlreadyRunsError,
    Place,
    mend_folder,
    recorded_servers,
    registered,
    running_servers,
)
from tests.servers import own_id, record_of


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    return tmp_path / "state" / "servers"


def files(state: Path) -> list[str]:
    return [file.name for file in state.glob("*.json")]


def test_a_server_is_found_while_it_is_registered(state: Path) -> None:
    record = record_of(server=own_id())
    assert running_servers() == ()
    with registered(record):
        assert running_servers() == RealMachine().servers() == (record,)
        (file,) = files(state)
        assert file.startswith(f"{os.getpid()}-")
    assert running_servers() == ()
    assert files(state) == []


def test_an_update_changes_the_record_and_keeps_the_file(state: Path) -> None:
    with registered(record_of(phase="")) as registration:
        before = files(state)
        registration.update(server=own_id(), phase="Loading weights", restarts=2)
        (found,) = running_servers()
        assert (found.pid, found.phase, found.restarts) == (os.getpid(), "Loading weights", 2)
        assert files(state) == before


def test_two_servers_of_one_launcher_have_a_record_each() -> None:
    with registered(record_of(port=1)), registered(record_of(port=2)):
        assert sorted(one.port for one in running_servers()) == [1, 2]


def test_a_server_is_on_record_while_its_launcher_or_it_runs(state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        other = process_id(process.pid)
        assert other is not None
        with (
            registered(record_of(own_id(), other, port=1)),
            registered(record_of(other, own_id(), port=2)),
            registered(record_of(other, other, port=3)),
        ):
            assert len(running_servers()) == 3
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert sorted(one.port for one in running_servers()) == [1, 2]
            assert len(files(state)) == 2


@pytest.mark.parametrize("change", [{"started": 1}, {"command": "another's"}])
def test_another_process_with_the_same_id_is_another_server(
    state: Path, change: dict[str, object]
) -> None:
    other = dataclasses.replace(own_id(), **change)  # type: ignore[arg-type]
    with registered(record_of(other, other)):
        assert running_servers() == ()
        assert files(state) == []


HERE = Place.here()


@pytest.mark.parametrize(
    ("place", "is_found", "stays"),
    [
        (HERE, True, True),
        (dataclasses.replace(HERE, boot="before"), False, False),
        (dataclasses.replace(HERE, boot="before", namespace=7), False, False),
        (dataclasses.replace(HERE, boot="another's", node="another"), False, True),
        (dataclasses.replace(HERE, namespace=7), False, True),
        (dataclasses.replace(HERE, namespace=7, node="container"), False, True),
    ],
    ids=[
        "here",
        "before the last boot",
        "container before it",
        "another machine",
        "container",
        "named container",
    ],
)
def test_a_record_is_judged_only_where_it_was_made(
    state: Path, place: Place, is_found: bool, stays: bool
) -> None:
    with registered(dataclasses.replace(record_of(), place=place)):
        assert bool(running_servers()) is is_found
        assert bool(files(state)) is stays


def test_the_place_is_this_boots() -> None:
    assert Place.here().boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert Place.here().namespace == Path("/proc/self/ns/pid").stat().st_ino


def test_a_system_that_does_not_tell_its_boot_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOOT_ID", Path("/gone"))
    assert (Place.here().boot, Place.here().namespace) == ("", 0)


RECORD = dataclasses.asdict(record_of(server=own_id()))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"pid": 1}',
        "\udcff",
        "[" * 50_000,
        json.dumps(RECORD | {"port": "x"}),
        json.dumps(RECORD | {"server": {"pid": 1}}),
        json.dumps({key: value for key, value in RECORD.items() if key != "launcher"}),
        " " * 65_536 + json.dumps(RECORD),
    ],
    ids=lambda content: content[:12],
)
def test_what_is_no_record_is_passed_over_and_goes(state: Path, content: str) -> None:
    with registered(record_of()):
        broken = state / "1-0123abcd.json"
        broken.write_bytes(content.encode("utf-8", "surrogateescape"))
        assert [one.name for one in running_servers()] == ["mine"]
        assert len(files(state)) == 1


def test_a_planted_record_is_not_followed_and_goes(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text(json.dumps(RECORD))
    with registered(record_of()):
        (state / "1-0123abcd.json").symlink_to(target)
        assert len(running_servers()) == 1
        assert not (state / "1-0123abcd.json").is_symlink()
    assert target.exists()


def test_a_record_of_later_days_with_more_in_it_is_read(state: Path) -> None:
    with registered(record_of()):
        record = dataclasses.asdict(record_of(server=own_id()))  # xdist renames its processes
        (state / "1-0123abcd.json").write_text(json.dumps(record | {"port": 2, "new": 1}))
        assert len(running_servers()) == 2


def test_a_file_of_another_kind_stays(state: Path) -> None:
    with registered(record_of()):
        (state / "notes.txt").write_text("")
        running_servers()
    assert (state / "notes.txt").exists()


def test_paths_may_be_of_any_bytes() -> None:
    with registered(record_of(log="/\udcff.log")):
        assert [one.log for one in running_servers()] == ["/\udcff.log"]


def test_a_full_disk_stops_no_server(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with registered(record_of()) as registration:
        registration.update(restarts=1)
        assert registration.record.restarts == 1
        assert running_servers() == ()


def test_a_folder_that_is_not_ours_alone_stops_a_start_and_no_doctor(state: Path) -> None:
    state.mkdir(parents=True, mode=0o700)
    state.chmod(0o777)
    for use in (recorded_servers, registered(record_of()).__enter__):
        with pytest.raises(KitError, match="is open to others"):
            use()
    assert running_servers() == ()
    assert "it is yours alone now" in mend_folder()
    assert recorded_servers() == ()


@pytest.mark.parametrize(
    ("ours", "theirs", "meet"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("::1", "127.0.0.1", False),
        ("::", "127.0.0.1", False),
        ("::", "::1", True),
        ("0.0.0.0", "::1", False),
        ("no.such.host.invalid", "no.such.host.invalid", True),
    ],
)
def test_a_second_server_at_an_address_is_refused(ours: str, theirs: str, meet: bool) -> None:
    other = record_of(host=theirs, phase="")
    with registered(other), registered(record_of(host=ours, port=30001)):
        if not meet:
            with registered(record_of(host=ours)):
                assert len(running_servers()) == 3
            return
        with pytest.raises(AlreadyRunsError) as caught:
            registered(record_of(host=ours)).__enter__()
    error = caught.value
    assert error.what.startswith(f"p runs already at http://{theirs}:30000 (launcher's pid ")
    assert f"started at {other.since:%Y-%m-%d %H:%M}" in error.why
    assert "its state is: starting." in error.why
    assert error.cure == "sgl-embed stop 30000"


def test_an_address_is_given_to_one_launcher_alone(state: Path) -> None:
    with registered(record_of(server=own_id())):
        with pytest.raises(AlreadyRunsError, match=rf"\(pid {os.getpid()}\)"):
            registered(record_of()).__enter__()
        assert len(files(state)) == 1


LAUNCH = """
import sys, time
from sgl_embed_kit.machine.servers import AlreadyRunsError, registered
from tests.servers import record_of
input()
try:
    with registered(record_of()):
        print("got it", flush=True)
        input()
except AlreadyRunsError:
    print("refused", flush=True)
"""


def test_of_many_launchers_at_the_same_time_one_gets_the_address(state: Path) -> None:
    argv = [sys.executable, "-c", LAUNCH]
    launchers = [subprocess.Popen(argv, stdin=-1, stdout=-1, text=True) for _ in range(4)]
    for one in launchers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    said = [one.stdout.readline().strip() for one in launchers if one.stdout is not None]
    assert sorted(said) == ["got it", "refused", "refused", "refused"]
    assert len(running_servers()) == 1
    for one in launchers:
        one.communicate("\n")
    assert files(state) == []
