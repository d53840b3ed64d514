"""Processors, shared memory, the folder for temporary files: what the checks find."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from sgl_embed_kit.doctor.checks.host import LONGEST_SOCKET_PATH, NAME_IN_TEMP
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import Folder, RealMachine
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

FULL = {
    name: Folder(Path(name), fault="No space left on device")
    for name in ("/tmp", "/var/tmp", "/usr/tmp")
}

CASES: list[Case] = [
    ("SGE-TMP-001", {}, Status.OK, "/tmp can be written"),
    (
        "SGE-TMP-001",
        {"machine": FakeMachine(folders=FULL)},
        Status.ERROR,
        "No space left on device",
    ),
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


@pytest.mark.parametrize(("length", "status"), [(95, Status.OK), (96, Status.ERROR)])
def test_a_temporary_folder_with_a_long_path_is_an_error(length: int, status: Status) -> None:
    machine = FakeMachine(variables={"TMPDIR": "/" + "x" * (length - 1)})
    assert find("SGE-TMP-001", machine).status is status


def test_the_limit_of_a_sockets_path_is_the_systems(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * (LONGEST_SOCKET_PATH - NAME_IN_TEMP - len(str(tmp_path)) - 1))
    folder.mkdir()
    fits = f"{folder}/tmpabcdefgh"
    assert len(fits) == LONGEST_SOCKET_PATH
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(fits)
    with socket.socket(socket.AF_UNIX) as listening, pytest.raises(OSError, match="too long"):
        listening.bind(f"{fits}i")


def test_the_temporary_folder_is_the_one_that_python_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    real = find("SGE-TMP-001", FakeMachine(variables=dict(os.environ)))
    assert real.found == f"{tempfile.gettempdir()} can be written"
    gone = FakeMachine(
        variables={"TMPDIR": str(tmp_path / "gone")},
        folders={str(tmp_path / "gone"): RealMachine().folder(tmp_path / "gone")},
    )
    finding = find("SGE-TMP-001", gone)
    assert finding.status is Status.INFO
    assert "/tmp is used: " in finding.found
    assert "it does not exist" in finding.found


def test_a_profile_may_name_the_temporary_folder() -> None:
    assert find("SGE-TMP-001", env={"TMPDIR": "/scratch"}).found.startswith("/scratch can")
