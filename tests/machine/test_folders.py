"""What can be done in a folder: on real folders, and on real mounts where they can be made."""

import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.machine.folders import look_at


def test_a_folder_that_can_be_written_has_no_fault_and_is_left_empty(tmp_path: Path) -> None:
    folder = look_at(tmp_path)
    assert (folder.path, folder.fault, folder.noexec) == (tmp_path, "", False)
    assert folder.free == pytest.approx(RealMachine().disk_free(tmp_path), rel=0.1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_the_one_above_it(tmp_path: Path) -> None:
    assert look_at(tmp_path / "not" / "there").path == tmp_path


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert look_at(tmp_path / "file").fault == "Not a directory"


def test_nothing_can_be_made_in_proc() -> None:
    assert look_at(Path("/proc/nowhere")).fault


def test_proc_is_mounted_noexec_as_the_system_says() -> None:
    lines = Path("/proc/mounts").read_text().splitlines()
    options = next(line.split()[3] for line in lines if line.split()[1] == "/proc")
    assert look_at(Path("/proc")).noexec is ("noexec" in options.split(","))


def in_mount(options: str, folder: str, code: str) -> str | None:
    """Return what code prints where a tmpfs is mounted; None where none may be.

    In a name space of its own, which needs no privileges on most systems.
    """
    script = f'mount -t tmpfs -o {options} tmpfs {folder} && exec "$@"'
    argv = ["unshare", "-rm", "sh", "-c", script, "sh", sys.executable, "-c", code, folder]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        return None
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CODE = """
import sys
from pathlib import Path
from sgl_embed_kit.machine.folders import look_at
found = look_at(Path(sys.argv[1]))
print(found.noexec, found.fault)
"""


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ("noexec", "True"),
        ("exec", "False"),
        ("ro", "False Read-only file system"),
        ("nr_inodes=1", "False No space left on device"),
    ],
)
def test_a_real_mount_says_what_it_allows(tmp_path: Path, options: str, printed: str) -> None:
    found = in_mount(f"size=64k,{options}", str(tmp_path), CODE)
    assert found in {printed, None}  # None: not allowed here, /proc stands for it


def test_a_real_small_shared_memory_is_measured() -> None:
    code = "from sgl_embed_kit.machine import RealMachine; print(RealMachine().shared_memory())"
    assert in_mount("size=64m", "/dev/shm", code) in {str(64 * 2**20), None}
