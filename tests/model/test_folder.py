"""Looking into model folders: each fault is found and named."""

import json
from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.folder import read_folder
from sgl_embed_kit.model.safetensors import LFS_POINTER


def fault(folder: Path) -> KitError:
    with pytest.raises(KitError) as caught:
        read_folder(folder)
    return caught.value


def test_a_healthy_folder_says_what_it_is(model: Path) -> None:
    found = read_folder(model)
    assert found.architectures == ("Qwen3ForCausalLM",)
    assert found.positions == 4096
    (weights,) = found.weights.files
    assert found.weight_bytes == weights.size - 8 - weights.header_bytes
    assert found.longest_text is None


def test_the_declared_longest_text_is_read(model: Path) -> None:
    (model / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert read_folder(model).longest_text == 256


@pytest.mark.parametrize("text", ["{", "[]", '{"max_seq_length": "256"}'])
def test_an_unreadable_declaration_is_as_good_as_none(model: Path, text: str) -> None:
    (model / "sentence_bert_config.json").write_text(text)
    assert read_folder(model).longest_text is None


def test_a_missing_folder(tmp_path: Path) -> None:
    assert fault(tmp_path / "no").what == f"There is no model folder {tmp_path / 'no'}."


def test_a_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert fault(tmp_path / "file").why == "It is a file."


def test_a_folder_without_a_config(model: Path) -> None:
    (model / "config.json").unlink()
    assert fault(model).why == "It has no config.json."


def test_the_model_one_folder_deeper_is_proposed(model: Path) -> None:
    error = fault(model.parent)
    assert "one folder deeper, in model" in error.why
    assert error.cure == f"sgl-embed quickstart --model {model}"


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_broken_config(model: Path, text: str) -> None:
    (model / "config.json").write_text(text)
    assert "config.json" in fault(model).what


def test_no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()
    assert fault(model).why == "It has no .safetensors file."


def test_weights_only_as_a_pickle_are_named_unsafe(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    assert "pytorch_model.bin, a pickle file that can run code" in fault(model).why


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_git_lfs_pointer_in_place_of_a_file(model: Path, name: str) -> None:
    (model / name).write_bytes(LFS_POINTER + b"\noid sha256:00\nsize 1\n")
    error = fault(model)
    assert f"{name} is a Git-LFS pointer" in error.what
    assert error.cure == f"git -C {model} lfs pull"


def test_a_pooling_that_cannot_be_done(model: Path) -> None:
    (model / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "max"}))
    assert "declares pooling 'max'" in fault(model).why
