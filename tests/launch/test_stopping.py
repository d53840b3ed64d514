"""A server is stopped from outside, with small programs in its and its launcher's place."""

import dataclasses
import os
import time

import psutil
import pytest

from sgl_embed_kit.launch.stopping import MARGIN_SECONDS, limit_of, stop_server
from sgl_embed_kit.machine import ServerRecord
from tests.servers import LIMIT, StandIn, own_id, record_of, stand_in


def ignore(_waited: float) -> None:
    """Show nothing."""


def ids(process: StandIn) -> set[int]:
    return {one.pid for one in process.processes}


def test_the_launcher_is_asked_and_stops_the_server() -> None:
    waited: list[float] = []
    with stand_in("alone", "drains") as server:
        ended = stop_server(server.record, LIMIT, waited.append)
        assert server.alive == []
        assert psutil.Process(server.record.launcher.pid).wait() in {0, None}
    assert (ended.killed, ended.left) == ((), ())
    assert waited == sorted(waited)
    assert len(waited) >= 2


def test_children_that_the_launcher_leaves_are_killed_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sgl_embed_kit.launch.stopping.ORPHAN_SECONDS", 0.3)
    with stand_in("family", "drains") as server:
        ended = stop_server(server.record, LIMIT, ignore)
        assert server.alive == []
        # The one in the server's session went with it; the other had left that.
        assert ended.killed == (server.processes[-1].pid,)


@pytest.mark.parametrize("mode", ["family", "stubborn"])
def test_after_its_time_the_whole_tree_is_killed(mode: str) -> None:
    with stand_in(mode, "hangs") as server:
        ended = stop_server(server.record, 0.3, ignore)
        assert server.alive == []
        assert set(ended.killed) == ids(server)
        assert ended.left == ()


def test_a_launcher_that_does_not_listen_is_left_and_the_server_asked() -> None:
    with stand_in("alone", "deaf") as server:
        ended = stop_server(server.record, LIMIT, ignore)
        assert ended.killed == ()
        assert [one.pid for one in server.alive] == [server.record.launcher.pid]


@pytest.mark.parametrize("is_gone", [True, False], ids=["before", "when it is asked"])
def test_a_server_whose_launcher_is_gone_is_asked_itself(is_gone: bool) -> None:
    with stand_in("alone", "dies") as server:
        if is_gone:
            launcher = psutil.Process(server.record.launcher.pid)
            launcher.kill()
            os.waitid(os.P_PID, launcher.pid, os.WEXITED | os.WNOWAIT)
        ended = stop_server(server.record, LIMIT, ignore)
        assert server.alive == []
        assert ended.killed == ()


def test_a_stubborn_server_without_a_launcher_is_killed() -> None:
    with stand_in("stubborn", "deaf") as server:
        ended = stop_server(server.record, 0.3, ignore)
        assert [one.pid for one in server.alive] == [server.record.launcher.pid]
        assert set(ended.killed) == ids(server) - {server.record.launcher.pid}


def test_before_there_is_a_server_its_launcher_is_asked() -> None:
    with stand_in("alone", "drains") as server:
        early = dataclasses.replace(server.record, server=None)
        assert stop_server(early, LIMIT, ignore).killed == ()
        assert server.alive == []


@pytest.mark.parametrize("change", [{"started": 1}, {"command": "another's"}])
def test_strangers_get_no_signal(change: dict[str, object]) -> None:
    with stand_in("family", "hangs") as server:
        launcher, main = server.record.launcher, server.record.server
        assert main is not None
        stale = dataclasses.replace(
            server.record,
            launcher=dataclasses.replace(launcher, **change),  # type: ignore[arg-type]
            server=dataclasses.replace(main, **change),  # type: ignore[arg-type]
        )
        ended = stop_server(stale, 0, ignore)
        assert (ended.killed, ended.left) == ((), ())
        assert len(server.alive) == 4


def test_it_waits_for_the_profiles_drain_and_a_margin() -> None:
    assert limit_of(record_of(drain_seconds=7)) == 7 + MARGIN_SECONDS


def test_an_interrupt_ends_the_waiting_and_kills_nobody() -> None:
    def interrupt(_waited: float) -> None:
        raise KeyboardInterrupt

    with stand_in("family", "hangs") as server:
        with pytest.raises(KeyboardInterrupt):
            stop_server(server.record, LIMIT, interrupt)
        assert len(server.alive) == 4


def test_a_process_that_does_not_die_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sgl_embed_kit.launch.stopping.DEATH_SECONDS", 0.3)
    record = record_of(own_id(), own_id())

    def send(_self: object, _number: int) -> bool:
        return True  # and it lives on: stuck in the kernel

    monkeypatch.setattr("sgl_embed_kit.machine.process_id.ProcessId.send", send)
    ended = stop_server(record, 0, ignore)
    assert os.getpid() in ended.left


FORKS = 30


def test_a_tree_that_goes_on_forking_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, signal, time\n"
        "signal.signal(15, signal.SIG_IGN)\n"
        "print(flush=True)\n"
        f"for _ in range({FORKS}):\n"
        "    if os.fork():\n        time.sleep(20)\n        os._exit(0)\n"
        "    time.sleep(0.02)\n"
        "time.sleep(20)"
    )  # a chain: each forks once and ends, whatever becomes of the test
    monkeypatch.setattr("tests.servers.SERVER", code)
    with stand_in("forks", "deaf") as server:
        main = server.record.server
        assert main is not None
        time.sleep(0.1)
        ended = stop_server(server.record, 0, ignore)
        assert ended.left == ()
        assert len(ended.killed) >= 2
        assert not has_session(main.pid)


def has_session(session: int) -> bool:
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, psutil.Error):
            continue
    return False


def test_the_record_of_a_stand_in_is_true() -> None:
    with stand_in() as server:
        record: ServerRecord = server.record
        assert record.is_running
        assert len(server.alive) == 4
