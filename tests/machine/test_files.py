"""What the system says of a file: on real ones."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.machine.files import File, file_at


def test_modes_and_time_are_those_of_the_file_behind_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o711)
    (folder / "file").write_text("x")
    (folder / "file").chmod(0o640)
    os.utime(folder / "file", (1, 1_000_000_000))
    (tmp_path / "link").symlink_to("folder/file")
    expected = File((folder / "file").resolve(), 0o640, 0o711, 1_000_000_000.0)
    assert file_at(tmp_path / "link") == file_at(folder / "file") == expected


@pytest.mark.parametrize("name", ["gone", "file/below", "a\0b", "loop"])
def test_what_is_not_there_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    assert file_at(tmp_path / name) is None
