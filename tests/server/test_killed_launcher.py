"""A launcher that is killed, and cannot stop its server any more, leaves nothing behind."""

import time
from pathlib import Path

import pytest

from tests.conftest import processes_with
from tests.server.launcher import (
    IMPORTS,
    LOADS_WEIGHTS,
    SERVES,
    real_launch,
)

pytestmark = pytest.mark.server

LEFT_AFTER = 5.0


@pytest.mark.parametrize("line", [IMPORTS, LOADS_WEIGHTS, SERVES])
@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_nothing_is_left_of_a_server_whose_launcher_is_killed(
    tmp_path: Path, line: str, fast: bool
) -> None:
    with real_launch(tmp_path, fast=fast) as launch:
        launch.wait_for(line)
        time.sleep(2 if line == IMPORTS else 0)
        assert len(processes_with(launch.mark)) >= 3
        memory = launch.shared_memory()
        assert memory or line != SERVES
        launch.process.kill()
        launch.process.wait()
        assert launch.left(within=LEFT_AFTER) == []
        assert [file for file in memory if file.exists()] == []
