"""Timing a start: what is started, shown and written; never how long anything takes."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def bench(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("bench_launch")


def test_the_plain_start_has_the_flags_of_the_launched_one(
    bench: ModuleType, tmp_path: Path
) -> None:
    plain, fast, slow, uncompiled = bench.starts_to_time(31999, tmp_path)
    assert plain.argv[0].endswith("/sglang")
    assert plain.argv[1] == "serve"
    assert "--is-embedding" in plain.argv
    assert plain.argv[plain.argv.index("--port") + 1] == "31999"
    assert plain.env["SGLANG_USE_CPU_ENGINE"] == "1"
    assert fast.argv[1:] == ("launch", "tiny-cpu", "--set", "server.port=31999")
    assert slow.argv == (*fast.argv, "--set", "launch.fast_start=false")
    assert uncompiled.argv == fast.argv
    assert uncompiled.env["PYTHONPYCACHEPREFIX"] == str(tmp_path)


def test_the_table_compares_with_the_plain_start(bench: ModuleType, tmp_path: Path) -> None:
    starts = bench.starts_to_time(1, tmp_path)
    times = [(20.0, 10.0, 30.0), (13.0, 12.0, 99.0), (22.0, 9.0, 23.0), (60.0, 60.0, 61.0)]
    shown = bench.table(starts, times).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown]
    assert cells[2][4:] == ["x 1.00, +0.0 s", "", ""]
    assert cells[3][1:] == ["13.0", "12.0", "99.0", "x 0.65, -7.0 s", "x 0.65", "yes"]
    assert cells[4][4:] == ["x 1.10, +2.0 s", "+ 1.0 s", "no"]
    assert cells[5][5:] == ["", ""]


def test_a_port_that_nobody_serves_gives_no_vector(bench: ModuleType) -> None:
    assert not bench.answers(bench.free_port())


def test_an_answer_that_is_no_vector_is_none(bench: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.settimeout(5)

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        assert not bench.answers(port)
        thread.join()
