"""A folder that nobody else can have put anything into, or that is not used."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sgl_embed_kit.machine.private_folder import (
    LONGEST,
    PlantedError,
    PrivateFolder,
    mend,
    private_folder,
)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "state"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_both_folders_and_the_files_are_made_for_this_user_alone(parent: Path) -> None:
    with private_folder(parent, "f", make=True) as folder:
        folder.write("a", b"1")
        folder.write("a", b"2")
        assert folder.read("a") == b"2"
        assert folder.names() == ["a"]
    assert (mode(parent), mode(parent / "f"), mode(parent / "f" / "a")) == (0o700, 0o700, 0o600)


def test_without_make_nothing_is_made(parent: Path) -> None:
    with pytest.raises(FileNotFoundError), private_folder(parent, "f", make=False):
        pass
    assert not parent.exists()


@pytest.mark.parametrize("at", ["parent", "folder"])
@pytest.mark.parametrize("make", [True, False])
def test_a_planted_link_is_refused_and_not_followed(
    parent: Path, tmp_path: Path, at: str, make: bool
) -> None:
    target = tmp_path / "target"
    (target / "f").mkdir(parents=True, mode=0o700)
    if at == "folder":
        parent.mkdir()
    (parent if at == "parent" else parent / "f").symlink_to(target)
    with pytest.raises(PlantedError, match="is a symbolic link") as caught:
        private_folder(parent, "f", make=make).__enter__()
    assert caught.value.cure
    with pytest.raises(PlantedError, match="is a symbolic link"):
        mend(parent, "f")
    assert [*target.rglob("*")] == [target / "f"]


def test_a_link_to_nowhere_is_refused(parent: Path) -> None:
    parent.symlink_to(parent.with_name("gone"))
    with pytest.raises(PlantedError), private_folder(parent, "f", make=True):
        pass
    assert not parent.with_name("gone").exists()


def test_a_file_in_its_place_is_said(parent: Path) -> None:
    parent.mkdir()
    (parent / "f").write_text("")
    with pytest.raises(PlantedError, match="is no folder") as caught:
        private_folder(parent, "f", make=True).__enter__()
    assert caught.value.cure == f"mv {parent / 'f'} {parent / 'f'}.old"


US, OTHER = 500, 7


def owned_by(patch: pytest.MonkeyPatch, *owners: int) -> None:
    """Let what is opened next belong to these users, one after the other."""
    real, left = os.fstat, list(owners)

    def fstat(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor))
        fields[stat.ST_UID] = left.pop(0) if left else US
        return os.stat_result(fields)

    patch.setattr(os, "fstat", fstat)
    patch.setattr(os, "geteuid", lambda: US)


@pytest.mark.parametrize(
    ("owners", "is_refused"),
    [
        ((US, US), False),
        ((0, US), False),  # as a volume is mounted for a container
        ((OTHER, US), True),
        ((US, OTHER), True),
        ((US, 0), True),
    ],
)
def test_another_users_folder_is_refused(
    parent: Path, owners: tuple[int, int], is_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned_by(monkeypatch, *owners)
    if is_refused:
        with pytest.raises(PlantedError, match=r"belongs to another user \(uid [07]\)"):
            private_folder(parent, "f", make=True).__enter__()
    else:
        with private_folder(parent, "f", make=True) as folder:
            assert folder.names() == []


@pytest.mark.parametrize("bits", [0o750, 0o705, 0o720, 0o777])
def test_one_that_is_open_to_others_is_refused_and_can_be_mended(parent: Path, bits: int) -> None:
    (parent / "f").mkdir(parents=True)
    (parent / "f").chmod(bits)
    with pytest.raises(PlantedError, match=f"mode 0{bits:o}") as caught:
        private_folder(parent, "f", make=True).__enter__()
    assert caught.value.cure == f"chmod 700 {parent / 'f'}"
    assert f"mode 0{bits:o}" in mend(parent, "f")
    assert mode(parent / "f") == 0o700
    assert mend(parent, "f") == ""
    assert mend(parent, "gone") == ""


def open_folder(parent: Path) -> PrivateFolder:
    parent.mkdir(mode=0o700)
    (parent / "f").mkdir(mode=0o700)
    return PrivateFolder(os.open(parent / "f", os.O_RDONLY))


def test_what_is_planted_as_a_file_is_not_read(parent: Path, tmp_path: Path) -> None:
    folder = open_folder(parent)
    (tmp_path / "secret").write_text("secret")
    (parent / "f" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(parent / "f" / "pipe")
    (parent / "f" / "dir").mkdir()
    before = len([*Path("/proc/self/fd").iterdir()])
    assert [folder.read(name) for name in ("link", "pipe", "dir", "gone")] == [None] * 4
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    folder.write("link", b"mine")
    assert folder.read("link") == b"mine"
    assert (tmp_path / "secret").read_text() == "secret"


def test_another_users_file_is_not_read(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(parent)
    folder.write("a", b"1")
    owned_by(monkeypatch, US, OTHER)
    assert folder.read("a") == b"1"
    assert folder.read("a") is None


def test_of_a_long_file_a_part_is_read(parent: Path) -> None:
    folder = open_folder(parent)
    folder.write("a", b"x" * (LONGEST + 1))
    assert folder.read("a") == b"x" * LONGEST


def test_a_write_that_fails_leaves_what_was_there(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(parent)
    folder.write("a", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert [file.name for file in (parent / "f").iterdir()] == ["a"]


def test_what_a_killed_writer_left_is_no_file_and_goes(parent: Path) -> None:
    folder = open_folder(parent)
    (parent / "f" / "a.1234.partial").write_text("{")
    assert folder.names() == []
    with folder.locked():
        assert [file.name for file in (parent / "f").iterdir()] == [".lock"]
    assert folder.names() == []


def test_a_lock_that_cannot_be_had_stops_nobody(parent: Path, tmp_path: Path) -> None:
    folder = open_folder(parent)
    (parent / "f" / ".lock").symlink_to(tmp_path / "target")
    with folder.locked():
        folder.write("a", b"1")
    assert not (tmp_path / "target").exists()


HOLDER = """
import sys
from pathlib import Path
from sgl_embed_kit.machine.private_folder import private_folder
with private_folder(Path(sys.argv[1]), "f", make=True) as folder, folder.locked():
    print("locked", flush=True)
    input()
    folder.write("a", b"theirs")
"""


def test_the_lock_keeps_other_processes_out(parent: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(parent)]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdout.readline()
        with private_folder(parent, "f", make=True) as folder:
            assert folder.read("a") is None
            holder.stdin.write("\n")
            holder.stdin.flush()
            with folder.locked():
                assert folder.read("a") == b"theirs"
