"""The private file through which keys reach SGLang."""

import os
import stat
import time
from pathlib import Path

import pytest
import yaml

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.keys_file import PREFIX, keys_file, memory_folder

SHM = "/dev/shm"
KEYS = {"api-key": "123", "admin-api-key": "yes"}


def test_it_is_for_this_user_only_in_memory_and_gone_afterwards() -> None:
    with keys_file(KEYS) as file:
        assert file is not None
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
        assert file.path.suffix == ".yaml"
        # Text even where YAML would read a number or a boolean.
        assert yaml.safe_load(file.path.read_text()) == KEYS
    assert not file.path.parent.exists()


def test_it_can_go_as_soon_as_it_was_read() -> None:
    with keys_file(KEYS) as file:
        assert file is not None
        file.remove()
        assert not file.path.parent.exists()
        file.remove()


def test_it_goes_when_the_start_fails() -> None:
    with pytest.raises(RuntimeError), keys_file(KEYS) as file:
        raise RuntimeError
    assert file is not None
    assert not file.path.parent.exists()


def test_no_keys_need_no_file() -> None:
    with keys_file({}) as file:
        assert file is None


def test_the_runtime_folder_is_taken_only_if_it_is_in_memory(tmp_path: Path) -> None:
    # The folder for tests is on a disk or in an overlay.
    assert memory_folder((str(tmp_path), None, SHM)) == Path(SHM)


def test_without_a_folder_in_memory_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="no folder in memory") as caught:
        memory_folder((None, str(tmp_path), "/nowhere"))
    assert caught.value.cure


def test_what_a_killed_launcher_left_is_swept_away_later() -> None:
    old, young = (Path(SHM, f"{PREFIX}{name}-{os.getpid()}") for name in ("old", "young"))
    try:
        for folder in (old, young):
            folder.mkdir()
        os.utime(old, (time.time() - 7200,) * 2)
        with keys_file(KEYS):
            assert not old.exists()
            assert young.exists()
    finally:
        for folder in (old, young):
            if folder.exists():
                folder.rmdir()
