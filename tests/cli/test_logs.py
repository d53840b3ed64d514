"""`sgl-embed logs`: the end of a log, followed until the server ends."""

import os
import subprocess
from pathlib import Path

import pytest

from sgl_embed_kit.machine.servers import registered
from tests.conftest import run, sgl_embed
from tests.servers import record_of, stand_in


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path))
    return tmp_path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "x.log"
    path.write_text("".join(f"line {n} 你\n" for n in range(200)), encoding="utf-8")
    return path


def test_the_last_lines_are_printed_and_nothing_else(log: Path) -> None:
    with registered(record_of(log=str(log))):
        some, usual = run("logs", "mine", "-n", "2"), run("logs", "30000")
    assert (some.returncode, some.stderr) == (0, "")
    assert some.stdout == "line 198 你\nline 199 你\n"
    assert len(usual.stdout.splitlines()) == 100


def test_of_one_that_has_ended_the_last_log_is_printed(state: Path) -> None:
    (state / "logs").mkdir()
    (state / "logs" / "mine-20261121-120000-1.log").write_bytes(b"old\xff\n")
    done = run("logs", "mine", "-f")
    assert done.returncode == 0
    assert done.stdout == "old�\n"
    assert done.stderr == "The server has ended.\n"


def test_what_comes_is_printed_until_the_server_ends(log: Path) -> None:
    with stand_in("alone", "drains", log=str(log)) as server:
        process = subprocess.Popen(
            sgl_embed("logs", "mine", "-n", "1", "--follow"),
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "line 199 你\n"
        with log.open("a") as file:
            file.write("new\n")
        assert process.stdout.readline() == "new\n"
        log.rename(f"{log}.1")
        log.write_text("after the rotation\n")
        assert process.stdout.readline() == "after the rotation\n"
        for one in server.processes:
            one.kill()
        assert process.stdout.read() == ""
        assert process.wait(20) == 0
        process.stdout.close()


def test_no_log_and_one_that_is_gone_end_with_1(tmp_path: Path) -> None:
    with registered(record_of(log=str(tmp_path / "gone.log"))):
        none, gone = run("logs", "nobody"), run("logs", "mine")
    assert (none.returncode, gone.returncode) == (1, 1)
    assert "There is no log of a server 'nobody'" in none.stderr
    assert "gone.log cannot be read" in gone.stderr
    assert "cure: ls -l " in gone.stderr


def test_a_reader_that_goes_away_makes_no_noise(log: Path) -> None:
    with registered(record_of(log=str(log))):
        done = subprocess.run(
            f"{' '.join(sgl_embed('logs', 'mine'))} | true",
            shell=True,
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [[], ["x", "-n", "-1"], ["x", "-n", "many"]])
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    assert run("logs", *arguments).returncode == 2
