"""Processors, shared memory, the folder for temporary files: what the checks find."""

import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.doctor.checks import host
from sgl_embed_kit.doctor.checks.host import (
    LONGEST_SOCKET_PATH,
    NAME_IN_TEMP,
    SGLANGS_OPEN_FILES,
)
from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.machine import File, Folder, Group, OpenFiles, RealMachine
from sgl_embed_kit.plan.memory import THREE_PROCESSES
from tests.doctor.checks.cases import Case, find
from tests.machines import FakeMachine

FULL = {
    name: Folder(Path(name), fault="No space left on device")
    for name in ("/tmp", "/var/tmp", "/usr/tmp")
}

GIB = 2**30


def sharing(size: int, device: str = "cuda", **parallel: int) -> dict[str, Any]:
    """Return the options of two GPUs that share a model, with so much of /dev/shm."""
    return {
        "machine": FakeMachine(shm=size),
        "hardware": {"device": device, "gpus": 2},
        "parallel": {"tensor": 2, **parallel},
    }


CASES: list[Case] = [
    ("SGE-CGRP-001", {}, Status.OK, "no control group limits memory; no swap"),
    (
        "SGE-CGRP-001",
        {"machine": FakeMachine(group=Group(memory_limit=8 * GIB), swap=2 * GIB)},
        Status.OK,
        "8.6 GB for this control group; 2.1 GB of swap, not counted on",
    ),
    (
        "SGE-CGRP-001",
        {"machine": FakeMachine(group=Group(memory_limit=2 * GIB))},
        Status.ERROR,
        "2.1 GB for this control group",
    ),
    (
        "SGE-CGRP-001",
        {"machine": FakeMachine(group=Group(memory_limit=8 * GIB, killed=2))},
        Status.INFO,
        "no swap; processes killed for memory: 2",
    ),
    ("SGE-FILES-001", {}, Status.OK, "65535 files may be open (soft limit 1024"),
    ("SGE-FILES-001", {"machine": FakeMachine(files_limit=None)}, Status.SKIP, "does not say"),
    (
        "SGE-FILES-001",
        {"machine": FakeMachine(files_limit=OpenFiles(200, 4096))},
        Status.WARN,
        "200 files may be open",
    ),
    ("SGE-CLOCK-001", {}, Status.OK, "2027-01-15 08:00 UTC"),
    (
        "SGE-CLOCK-001",
        {
            "machine": FakeMachine(
                time=0.0,
                files={
                    name: File(Path(name), modified=1_700_000_000.0)
                    for name in ("/etc", sys.prefix)
                },
            )
        },
        Status.WARN,
        "1970-01-01 00:00 UTC, and files here were written on 2023-11-14 22:13 UTC",
    ),
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
    ("SGE-CPU-001", {"machine": FakeMachine(cpus=2)}, Status.OK, "2 processors, bfloat16"),
    ("SGE-SHM-001", {"machine": FakeMachine(shm=2**26)}, Status.OK, "0.1 GiB"),
    ("SGE-SHM-001", {"machine": FakeMachine(shm=None)}, Status.SKIP, "cannot be looked at"),
    ("SGE-SHM-001", sharing(2**30 - 1), Status.WARN, "1.0 GiB in /dev/shm"),
    ("SGE-SHM-001", sharing(2**26), Status.WARN, "0.1 GiB in /dev/shm"),
    ("SGE-SHM-001", sharing(2**30), Status.OK, "1.0 GiB in /dev/shm"),
    ("SGE-SHM-001", sharing(2**26, device="cpu"), Status.OK, "0.1 GiB in /dev/shm"),
    ("SGE-SHM-001", sharing(2**26, data=2, tensor=1), Status.OK, "0.1 GiB in /dev/shm"),
]


@pytest.mark.parametrize(
    ("device", "features"),
    [("cuda", frozenset({"avx512_bf16"})), ("cuda", frozenset()), ("cpu", frozenset())],
)
def test_the_processors_instructions_are_told_only_where_they_count(
    device: str, features: frozenset[str]
) -> None:
    machine = FakeMachine(features=features)
    assert find("SGE-CPU-001", machine, hardware={"device": device}).found == "8 processors"


@pytest.mark.parametrize(("length", "status"), [(72, Status.OK), (73, Status.ERROR)])
def test_a_temporary_folder_with_a_long_path_is_an_error(length: int, status: Status) -> None:
    machine = FakeMachine(variables={"TMPDIR": "/" + "x" * (length - 1)})
    assert find("SGE-TMP-001", machine).status is status


def test_the_limit_of_a_sockets_path_is_the_systems() -> None:
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base, "x" * (LONGEST_SOCKET_PATH - NAME_IN_TEMP - len(base) - 1))
        private = folder / "sgl-embed-run-abcdefgh"
        private.mkdir(parents=True)
        fits = f"{private}/tmpabcdefgh"
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


def test_a_container_needs_room_for_three_processes() -> None:
    for limit, status in ((THREE_PROCESSES, Status.OK), (THREE_PROCESSES - 1, Status.ERROR)):
        machine = FakeMachine(group=Group(memory_limit=limit))
        assert find("SGE-CGRP-001", machine).status is status


@pytest.mark.parametrize(
    ("soft", "hard", "limits", "status", "fix"),
    [
        (256, 256, {}, Status.OK, ""),
        (255, 65534, {}, Status.WARN, "ulimit -Sn 256"),
        (255, 256, {}, Status.WARN, "ulimit -Sn 256"),
        (255, 255, {}, Status.WARN, "docker run --ulimit nofile=65535"),
        (255, 65535, {}, Status.OK, ""),
        (1024, 1024, {"max_running_requests": 1024}, Status.WARN, "nofile=65535"),
        (1024, 1024, {"max_running_requests": 496, "max_queued_requests": 400}, Status.OK, ""),
        (1023, 1023, {"max_running_requests": 496, "max_queued_requests": 400}, Status.WARN, "d"),
    ],
)
def test_each_request_that_is_taken_needs_a_connection(
    soft: int, hard: int, limits: dict[str, int], status: Status, fix: str
) -> None:
    machine = FakeMachine(files_limit=OpenFiles(soft, hard))
    finding = find("SGE-FILES-001", machine, limits=limits)
    assert finding.status is status
    assert fix in finding.fix


def test_sglang_does_what_is_said_of_open_files() -> None:
    """Its set_ulimit, run on its source in a process with these limits."""
    package = Path(sysconfig.get_paths()["purelib"]) / "sglang" / "srt" / "utils" / "common.py"
    if not package.is_file():
        pytest.skip("SGLang is not installed; get it with: make test")
    text = package.read_text()
    source = text[text.index("def set_ulimit(") :].split("\n\n\n")[0]
    code = (
        "import logging, resource\nlogger = logging.getLogger()\n"
        f"{source}\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\nset_ulimit()\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "200\n"
    assert "Fail to set RLIMIT_NOFILE" in done.stderr
    assert f"target_soft_limit={SGLANGS_OPEN_FILES}" in source


@pytest.mark.parametrize(
    ("behind", "newer", "status"),
    [
        (86_400, ("/etc", "own"), Status.OK),
        (86_401, ("/etc", "own"), Status.WARN),
        (90_000, ("/etc", "own"), Status.WARN),
        (90_000, (sys.prefix, "own"), Status.WARN),
        (90_000, ("own",), Status.OK),
        (90_000, ("/etc",), Status.OK),
    ],
)
def test_a_clock_a_day_behind_two_kinds_of_files_is_wrong(
    behind: int, newer: tuple[str, ...], status: Status
) -> None:
    paths = [Path(host.__file__) if name == "own" else Path(name) for name in newer]
    machine = FakeMachine(files={str(path): File(path, modified=1e9) for path in paths})
    machine.time = 1e9 - behind
    assert find("SGE-CLOCK-001", machine).status is status


def test_without_files_to_compare_with_any_time_will_do() -> None:
    machine = FakeMachine(files=dict.fromkeys(("/etc", sys.prefix, host.__file__)))
    assert find("SGE-CLOCK-001", machine).status is Status.OK


def test_the_clock_of_this_machine_is_right() -> None:
    machine = FakeMachine()
    machine.file = RealMachine().file  # type: ignore[method-assign]
    machine.time = RealMachine().now()
    assert find("SGE-CLOCK-001", machine).status is Status.OK
