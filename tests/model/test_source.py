"""Where a profile's model.path leads."""

from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError, ProfileError
from sgl_embed_kit.folders import cache_folder
from sgl_embed_kit.model.folder import read_folder
from sgl_embed_kit.model.source import Kind, locate


def test_a_folder_that_exists_is_a_folder_even_if_it_looks_like_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "model").mkdir(parents=True)
    source = locate("org/model")
    assert (source.kind, source.model_path) == (Kind.FOLDER, str(tmp_path / "org" / "model"))


def test_a_repository_id_stays_as_it_is() -> None:
    source = locate("Qwen/Qwen3-Embedding-0.6B")
    assert (source.kind, source.model_path, source.folder) == (
        Kind.REPO,
        "Qwen/Qwen3-Embedding-0.6B",
        None,
    )
    assert source.bytes_needed > 1_191_553_024


@pytest.mark.parametrize("path", ["/no/such/folder", "./model", "../x", "one-word", "a/b/c", "~/m"])
def test_what_has_not_the_form_of_a_repository_is_a_folder_that_is_not_there(path: str) -> None:
    source = locate(path)
    assert (source.kind, source.is_missing) == (Kind.FOLDER, False)
    assert source.folder is not None
    assert source.folder.is_absolute()
    with pytest.raises(KitError, match="no model folder"):
        read_folder(source.folder)


def test_slashes_at_the_end_mean_nothing(tmp_path: Path) -> None:
    assert locate("org/model//") == locate("org/model")
    assert locate(f"{tmp_path}/") == locate(str(tmp_path))


def test_an_unknown_demo_is_an_error_with_the_known_one() -> None:
    with pytest.raises(ProfileError) as caught:
        locate("demo:bert")
    assert "demo:all-minilm-l6-v2" in caught.value.cure


def test_the_tiny_model_is_made_in_the_cache_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path / "cache"))
    source = locate("tiny:")
    assert source.is_missing
    folder = source.make()
    assert folder is not None
    assert folder.is_relative_to(cache_folder())
    assert not source.is_missing
    stamp = (folder / "config.json").stat().st_mtime_ns
    assert source.make() == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp


def test_locating_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path / "cache"))
    assert locate("demo:all-minilm-l6-v2").bytes_needed > 170_000_000
    assert list(tmp_path.iterdir()) == []
