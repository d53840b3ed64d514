"""The folder of each server, and what is left of dead ones."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgl_embed_kit.doctor.checks.host import NAME_IN_TEMP
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.leftovers import (
    PREFIX,
    PrivateFolder,
    kill_marked,
    remove_leftovers,
    temporary,
)
from sgl_embed_kit.launch.shared_memory import NOTES

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"TMPDIR": str(tmp_path)}


def dead(env: dict[str, str]) -> Path:
    """Return a folder whose owner is gone."""
    folder = PrivateFolder(env)
    (folder.path / "socket").touch()
    folder.close()
    return folder.path


def test_it_is_private_and_short(env: dict[str, str], tmp_path: Path) -> None:
    folder = PrivateFolder(env)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert folder.path.parent == tmp_path
    assert len(f"/{folder.path.name}/tmpabcdefgh") == NAME_IN_TEMP
    folder.close()


def test_what_a_dead_one_left_is_removed(env: dict[str, str]) -> None:
    path = dead(env)
    remove_leftovers(env)
    assert not path.exists()


def test_a_living_ones_folder_stays(env: dict[str, str]) -> None:
    folder = PrivateFolder(env)
    remove_leftovers(env)
    assert folder.path.exists()
    folder.close()


def test_it_stays_while_the_keeper_holds_it(env: dict[str, str]) -> None:
    folder = PrivateFolder(env)
    with subprocess.Popen(SLEEP, pass_fds=(folder.lock,)) as keeper:
        folder.close()
        remove_leftovers(env)
        assert folder.path.exists()
        keeper.kill()
    remove_leftovers(env)
    assert not folder.path.exists()


def test_what_others_made_stays(env: dict[str, str], tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    (others / NOTES).touch()
    (others / "file").touch()
    alike = tmp_path / f"{PREFIX}abcdefgh"
    alike.mkdir()
    (alike / "file").touch()
    (tmp_path / f"{PREFIX}linklink").symlink_to(others)
    (tmp_path / "sgl-embed-abcdefgh").mkdir()
    before = sorted(tmp_path.rglob("*"))
    remove_leftovers(env)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_only_made_goes(env: dict[str, str], tmp_path: Path) -> None:
    made = tmp_path / f"{PREFIX}abcdefgh"
    made.mkdir()
    remove_leftovers(env)
    assert not made.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_stays(env: dict[str, str]) -> None:
    path = dead(env)
    os.chown(path, 12345, 12345)
    remove_leftovers(env)
    assert path.exists()


def test_shared_memory_that_it_noted_goes_and_no_other(env: dict[str, str]) -> None:
    own, reborn = (Path(f"/dev/shm/sgl-embed-test-{name}-{os.getpid()}") for name in "ab")
    path = dead(env)
    try:
        lines = []
        for file in (own, reborn):
            file.touch()
            lines.append(f"{file.stat().st_dev} {file.stat().st_ino} {file.name}\n")
        reborn.unlink()
        own.with_suffix(".x").touch()  # so that the next one is another inode
        reborn.touch()
        (path / NOTES).write_text("".join(lines) + "cut\n1 x y\n")
        if reborn.stat().st_ino == int(lines[1].split()[1]):
            pytest.fail("the file system gave the same number again")
        remove_leftovers(env)
        assert not own.exists()
        assert reborn.exists()
        assert not path.exists()
    finally:
        for file in (own, reborn, own.with_suffix(".x")):
            file.unlink(missing_ok=True)


def test_processes_with_the_folder_in_their_environment_are_killed(tmp_path: Path) -> None:
    def sleeping(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(SLEEP, env={**os.environ, "TMPDIR": folder})

    with sleeping(str(tmp_path / "a")) as marked, sleeping(str(tmp_path / "ab")) as other:
        kill_marked(tmp_path / "a")
        assert marked.wait(10) == -9
        time.sleep(0.1)
        assert other.poll() is None
        other.kill()


TORCHS_FOLDER = """
import importlib.util, runpy, sys, types
folder = importlib.util.find_spec("torch").submodule_search_locations[0]
stub = types.SimpleNamespace(is_fbcode=lambda: False)  # all of torch takes ten seconds
sys.modules.update({"torch": types.ModuleType("torch"), "torch._environment": stub})
module = runpy.run_path(f"{folder}/_inductor/runtime/cache_dir_utils.py")
print(module["default_cache_dir"]())
"""


def test_what_is_compiled_lasts(env: dict[str, str], tmp_path: Path) -> None:
    variables = temporary(env, tmp_path / "private")
    assert variables["TMPDIR"] == str(tmp_path / "private")
    done = subprocess.run(
        [sys.executable, "-c", TORCHS_FOLDER],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert variables["TORCHINDUCTOR_CACHE_DIR"] == done.stdout.strip()
    assert variables["CUTE_DSL_CACHE_DIR"].startswith(f"{tmp_path}/")


def test_what_the_user_chose_for_it_stays(tmp_path: Path) -> None:
    base = {"TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": "/mine"}
    assert "TORCHINDUCTOR_CACHE_DIR" not in temporary(base, tmp_path / "private")


def test_a_folder_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    folder = PrivateFolder({"TMPDIR": str(tmp_path / "none"), "TEMP": str(tmp_path)})
    assert folder.path.parent == tmp_path
    folder.close()


def test_no_place_at_all_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sgl_embed_kit.launch.leftovers.SYSTEMS", (str(tmp_path / "none"),))
    with pytest.raises(KitError, match="temporary files"):
        PrivateFolder({})
