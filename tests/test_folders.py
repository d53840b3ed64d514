"""Folders that appear complete or not at all."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import cache_folder, complete_or_absent, state_folder


def test_the_folder_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with complete_or_absent(target) as work:
        (work / "file").write_text("x")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert (target / "file").read_text() == "x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_stays_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), complete_or_absent(tmp_path / "target") as work:
        (work / "file").write_text("x")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_finish_the_first_one_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with complete_or_absent(target) as work:
        (work / "file").write_text("second")
        with complete_or_absent(target) as other:
            (other / "file").write_text("first")
    assert (target / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_makes_is_not(
    tmp_path: Path,
) -> None:
    dead = tmp_path / ".target.999999999.aaaa.partial"
    living = tmp_path / f".target.{os.getpid()}.bbbb.partial"
    dead.mkdir()
    living.mkdir()
    with complete_or_absent(tmp_path / "target"):
        pass
    assert not dead.exists()
    assert living.exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(KitError, match="cannot be written"),
        complete_or_absent(tmp_path / "file" / "target"),
    ):
        pass


def test_the_toolkits_own_variable_goes_before_xdg_and_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("SGL_EMBED_CACHE", "/own")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("SGL_EMBED_CACHE")
    assert cache_folder() == Path("/xdg/sgl-embed")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_folder() == Path("/home/me/.cache/sgl-embed")
    monkeypatch.delenv("SGL_EMBED_STATE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_folder() == Path("/home/me/.local/state/sgl-embed")
