"""A real server is asked to stop, at each moment of its life."""

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.launch.pid1 import WAYS_TO_BE_PROCESS_1, process_1
from tests.server.launcher import (
    IMPORTS,
    LOADS_WEIGHTS,
    OPENS_PORT,
    SERVES,
    Launch,
    real_launch,
)

pytestmark = pytest.mark.server

LIMIT = 60.0


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGTERM, IMPORTS),
        (signal.SIGINT, LOADS_WEIGHTS),
        (signal.SIGTERM, OPENS_PORT),
    ],
)
def test_a_server_that_starts_is_stopped_well(
    tmp_path: Path, number: signal.Signals, line: str
) -> None:
    with real_launch(tmp_path) as launch:
        launch.wait_for(line)
        memory = launch.shared_memory()
        launch.process.send_signal(number)
        assert launch.process.wait(LIMIT) == 0, launch.printed.read_text()
        assert launch.left() == []
        assert [file for file in memory if file.exists()] == []
        assert "cut" not in launch.printed.read_text()


@contextmanager
def asking(launch: Launch, statuses: list[int]) -> Iterator[None]:
    """Have a request in flight: the scheduler is halted before it; note the answer's status."""
    content = {"model": "tiny-qwen3-embedding", "input": "Apples are a fruit"}

    def ask() -> None:
        with suppress(httpx.TransportError):
            answer = httpx.post(f"{launch.url}/v1/embeddings", json=content, timeout=LIMIT)
            statuses.append(answer.status_code)

    thread = threading.Thread(target=ask)
    launch.scheduler().suspend()
    thread.start()
    thread.join(1)
    assert thread.is_alive()
    yield
    thread.join(LIMIT)


def test_a_request_in_flight_is_answered_as_process_1(tmp_path: Path) -> None:
    statuses: list[int] = []
    within = process_1(WAYS_TO_BE_PROCESS_1[-1])
    with real_launch(tmp_path, fast=False, within=within) as launch:
        launch.wait_for(SERVES)
        memory = launch.shared_memory()
        assert memory
        with asking(launch, statuses):
            launch.first().send_signal(signal.SIGTERM)
            time.sleep(1)
            launch.scheduler().resume()
            assert launch.process.wait(LIMIT) == 0, launch.printed.read_text()
        assert statuses == [200]
        assert "cut" not in launch.printed.read_text()
        assert launch.left() == []
        assert [file for file in memory if file.exists()] == []


def test_a_request_that_takes_longer_than_it_may_is_cut(tmp_path: Path) -> None:
    statuses: list[int] = []
    with real_launch(tmp_path, drain=8) as launch:
        launch.wait_for(SERVES)
        memory = launch.shared_memory()
        with asking(launch, statuses):
            launch.process.send_signal(signal.SIGTERM)
            assert launch.process.wait(LIMIT) == 0, launch.printed.read_text()
        assert statuses == []
        # SGLang's own warm-up may still be among them.
        assert re.search(r"\d requests? (was|were) cut\.", launch.printed.read_text())
        assert launch.left() == []
        assert [file for file in memory if file.exists()] == []
