"""Limits of control groups: from the files of both versions, and real ones of version 1."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.machine.cgroup import ROOT, Group, own_group

GIB = 2**30
# What the kernel writes in version 1 where nothing is limited.
UNLIMITED = "9223372036854771712"


def tree(folder: Path, membership: str, files: dict[str, str]) -> Group:
    """Return the limits that a tree of files says."""
    for name, text in files.items():
        path = folder / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "root").mkdir(exist_ok=True)
    (folder / "membership").write_text(membership)
    return own_group(folder / "root", folder / "membership")


def test_version_2_says_what_may_be_used_and_what_is_left(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "0::/pod/box\n",
        {
            "pod/box/memory.max": str(8 * GIB),
            "pod/box/memory.current": str(5 * GIB),
            "pod/box/memory.stat": f"anon {3 * GIB}\ninactive_file {2 * GIB}",
            "pod/box/cpu.max": "150000 100000",
        },
    )
    assert found == Group(8 * GIB, 5 * GIB, 1.5)


def test_a_group_above_limits_what_is_in_it(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "0::/pod/box\n",
        {
            "pod/box/memory.max": "max",
            "pod/box/memory.current": "1",
            "pod/memory.max": str(4 * GIB),
            "pod/memory.current": str(GIB),
            "pod/box/cpu.max": "max 100000",
            "pod/cpu.max": "50000 100000",
        },
    )
    assert found == Group(4 * GIB, 3 * GIB, 0.5)


def test_version_1_has_a_tree_for_each_controller(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "4:memory:/docker/abc\n2:cpuacct:/\n1:cpu:/docker/abc\n0::/\n",
        {
            "memory/docker/abc/memory.limit_in_bytes": str(2 * GIB),
            "memory/docker/abc/memory.usage_in_bytes": str(GIB),
            "memory/docker/abc/memory.stat": f"total_inactive_file {GIB // 2}",
            "memory/memory.limit_in_bytes": UNLIMITED,
            "memory/memory.usage_in_bytes": str(9 * GIB),
            "cpu/docker/abc/cpu.cfs_quota_us": "200000",
            "cpu/docker/abc/cpu.cfs_period_us": "100000",
        },
    )
    assert found == Group(2 * GIB, GIB + GIB // 2, 2.0)


def test_in_a_container_the_root_of_what_it_sees_is_its_group(tmp_path: Path) -> None:
    found = tree(
        tmp_path,
        "0::/kubepods/burstable/pod1/box\n",
        {"memory.max": str(GIB), "memory.current": "0"},
    )
    assert found == Group(GIB, GIB, None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory.max": "max", "memory.current": "5"},
        {"memory.max": "garbage", "memory.current": "5", "cpu.max": "1"},
        {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
    ],
)
def test_without_a_limit_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert tree(tmp_path, "0::/\n", files) == Group()


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert own_group(tmp_path / "no", tmp_path / "membership") == Group()


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("0::/pod/box\n", "pod/box/memory.events"),
        ("5:memory:/pod/box\n", "memory/pod/box/memory.oom_control"),
    ],
)
def test_processes_that_the_kernel_ended_are_counted(
    tmp_path: Path, membership: str, file: str
) -> None:
    content = "low 0\noom 4\noom_kill 3\nunder_oom 0"
    assert tree(tmp_path, membership, {file: content}).killed == 3


def test_a_real_limit_of_version_1_is_found_where_one_can_be_made() -> None:
    folder = ROOT / "memory" / f"sgl-embed-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return  # version 2, or no right to; the files above stand for it
    try:
        (folder / "memory.limit_in_bytes").write_text(str(GIB))
        code = (
            "import os; from pathlib import Path\n"
            f"Path({str(folder)!r}, 'cgroup.procs').write_text(str(os.getpid()))\n"
            "from sgl_embed_kit.machine.cgroup import own_group\n"
            "from sgl_embed_kit.machine import RealMachine\n"
            "print(own_group().memory_limit, RealMachine().memory_available())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        limit, available = map(int, done.stdout.split())
        assert limit == GIB
        assert GIB // 2 < available <= GIB
    finally:
        folder.rmdir()


def test_a_real_process_that_was_killed_for_memory_is_counted(tmp_path: Path) -> None:
    folder = ROOT / "memory" / f"sgl-embed-test-killed-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return  # version 2, or no right to; the files above stand for it
    try:
        (folder / "memory.limit_in_bytes").write_text(str(2**26))
        code = (
            "import os; from pathlib import Path\n"
            f"Path({str(folder)!r}, 'cgroup.procs').write_text(str(os.getpid()))\n"
            "b'x' * 2**27"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL
        membership = tmp_path / "membership"
        membership.write_text(f"5:memory:/{folder.name}\n")
        assert own_group(ROOT, membership).killed == 1
    finally:
        folder.rmdir()
