"""Processors, shared memory, the folder for temporary files: what the checks find."""

import socket
import tempfile
from pathlib import Path

import pytest

from sgl_embed_kit.doctor.checks.host import LONGEST_SOCKET_PATH, NAME_IN_TEMP
from sgl_embed_kit.doctor.engine import Status
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

CASES: list[Case] = [
    ("SGE-TMP-001", {}, Status.OK, "can be written"),
    ("SGE-CPU-001", {}, Status.OK, "8 processors, bfloat16 by avx512_bf16"),
    (
        "SGE-CPU-001",
        {"machine": FakeMachine(features=frozenset({"avx2"}))},
        Status.OK,
        "no bfloat16 instructions",
    ),
    ("SGE-CPU-001", {"machine": FakeMachine(features=frozenset())}, Status.OK, "8 proc"),
    ("SGE-CPU-001", {"machine": FakeMachine(cpus=1.5)}, Status.WARN, "1.5 processors"),
    ("SGE-SHM-001", {"machine": FakeMachine(shm=2**26)}, Status.OK, "0.1 GiB"),
    ("SGE-SHM-001", {"machine": FakeMachine(shm=None)}, Status.SKIP, "cannot be looked at"),
    (
        "SGE-SHM-001",
        {
            "machine": FakeMachine(shm=2**26),
            "hardware": {"gpus": 2},
            "parallel": {"data": 2},
        },
        Status.WARN,
        "0.1 GiB in /dev/shm",
    ),
]


def test_a_temporary_folder_with_a_long_path_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * (96 - len(str(tmp_path))))
    short = tmp_path / ("x" * (93 - len(str(tmp_path))))
    for folder, status in ((long, Status.ERROR), (short, Status.OK)):
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        assert find("SGE-TMP-001").status is status


def test_the_limit_of_a_sockets_path_is_the_systems(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * (LONGEST_SOCKET_PATH - NAME_IN_TEMP - len(str(tmp_path)) - 1))
    folder.mkdir()
    fits = f"{folder}/tmpabcdefgh"
    assert len(fits) == LONGEST_SOCKET_PATH
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(fits)
    with socket.socket(socket.AF_UNIX) as listening, pytest.raises(OSError, match="too long"):
        listening.bind(f"{fits}i")


def test_a_temporary_folder_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    found = find("SGE-TMP-001")
    assert found.status is Status.ERROR
    assert "No such file" in found.found
