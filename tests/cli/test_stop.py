"""`sgl-embed stop`: whom it stops, what it shows, and when it gives up waiting."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.launch import stopping
from sgl_embed_kit.machine.servers import registered, running_servers
from tests.conftest import run, sgl_embed
from tests.servers import record_of, stand_in

if sys.platform != "win32":
    import pexpect


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))


def test_it_stops_a_server_by_name_and_says_how_long_it_took() -> None:
    with stand_in("alone", "drains") as server:
        done = run("stop", "mine")
        assert server.alive == []
    assert done.returncode == 0
    assert done.stdout.startswith("mine (port 30000) has ended after ")
    assert done.stderr == "  draining, at most 5 s\n"


def test_one_that_does_not_end_is_killed_after_the_timeout() -> None:
    with stand_in("family", "hangs") as server:
        done = run("stop", "p", "--timeout", "0.3")
        assert server.alive == []
    assert done.returncode == 0
    assert "did not end by itself: 4 processes killed after" in done.stdout


def test_nobody_of_that_name_ends_with_1_and_several_with_2() -> None:
    with registered(record_of(port=1)), registered(record_of(port=2)):
        none, several = run("stop", "nobody"), run("stop", "mine")
        assert len(running_servers()) == 2
    assert (none.returncode, several.returncode) == (1, 2)
    assert "2 servers are called 'mine'; nothing was done." in several.stderr
    assert "port 2: mine by p" in several.stderr
    assert "cure: sgl-embed stop " in several.stderr


def test_what_stays_is_told_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_server(*_arguments: object) -> stopping.Ended:
        return stopping.Ended(1.0, (7,), (7,))

    monkeypatch.setattr("sgl_embed_kit.cli.stop.stop_server", stop_server)
    with registered(record_of()):
        done = run("stop", "mine")
    assert done.returncode == 1
    assert "cure: ps -o pid,stat,wchan:20,cmd 7" in done.stderr


def test_an_interrupt_stops_the_waiting_alone() -> None:
    with stand_in("alone", "hangs") as server:
        process = subprocess.Popen(sgl_embed("stop", "mine"), stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline() == "  draining, at most 5 s\n"
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(20) == 130
        process.stderr.close()
        assert len(server.alive) == 2
    assert "may still be\ndraining: sgl-embed status" in said


def test_a_terminal_shows_the_seconds_pass() -> None:
    with stand_in("alone", "drains"):
        shown = pexpect.run(
            " ".join(sgl_embed("stop", "mine")), env=dict(os.environ), timeout=20
        ).decode()
    assert "draining, 0 s of 5" in shown
    assert "mine (port 30000) has ended after" in shown.splitlines()[-1]


@pytest.mark.parametrize("arguments", [[], ["x", "--timeout", "-1"], ["x", "y"]])
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    assert run("stop", *arguments).returncode == 2
