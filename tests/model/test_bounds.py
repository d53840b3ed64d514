"""What a model allows, from its files or from what is known without them."""

import json
import shutil
from pathlib import Path

import pytest

from sgl_embed_kit.model.bounds import MINILM, Bounds, bounds_of, bounds_or_none, of_folder
from sgl_embed_kit.model.folder import read_folder
from sgl_embed_kit.model.source import locate
from tests.conftest import Launched


def with_config(tiny_folder: Path, target: Path, **changes: object) -> Bounds:
    """Return the bounds of a copy of a model whose config.json is changed."""
    shutil.copytree(tiny_folder, target)
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps(config))
    return of_folder(read_folder(target))


def test_a_qwen_is_known_by_its_name() -> None:
    found = bounds_of(locate("Qwen/Qwen3-Embedding-4B"))
    assert found == Bounds(40960, None, 2560, True, 32, is_encoder=False)


def test_of_another_repository_nothing_is_known() -> None:
    assert bounds_of(locate("org/model")) is None


def test_the_tiny_model_is_known_before_it_is_made(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path))
    assert bounds_of(locate("tiny:")) == of_folder(read_folder(tiny_folder))


@pytest.mark.server
def test_the_demo_model_is_known_before_it_is_fetched(
    minilm: Launched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert minilm.model == "all-minilm-l6-v2"
    fetched = bounds_of(locate("demo:all-minilm-l6-v2"))
    monkeypatch.setenv("SGL_EMBED_CACHE", str(tmp_path))
    assert locate("demo:all-minilm-l6-v2").is_missing
    assert bounds_of(locate("demo:all-minilm-l6-v2")) == MINILM == fetched


def test_a_faulty_folder_has_no_bounds(tiny_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_folder, tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    assert bounds_or_none(locate(str(tmp_path / "m"))) is None


@pytest.mark.parametrize(
    ("changes", "positions"),
    [
        ({}, 4096),
        ({"max_sequence_length": 100}, 100),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 8192),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        (
            {
                "rope_scaling": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 1024,
                }
            },
            4096,
        ),
        ({"rope_scaling": {"factor": "much"}}, None),
        ({"max_position_embeddings": None}, None),
    ],
)
def test_the_context_is_the_one_that_sglang_derives(
    tiny_folder: Path, tmp_path: Path, changes: dict[str, object], positions: int | None
) -> None:
    assert with_config(tiny_folder, tmp_path / "m", **changes).positions == positions


def test_of_an_unknown_architecture_the_vector_need_not_be_the_whole_state(
    tiny_folder: Path, tmp_path: Path
) -> None:
    found = with_config(tiny_folder, tmp_path / "m", architectures=["Gemma3TextModel"])
    assert not found.is_whole_state
