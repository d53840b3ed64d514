"""The small random model."""

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from sgl_embed_kit.errors import KitError, UsageError
from sgl_embed_kit.model.folder import read_folder
from sgl_embed_kit.model.tiny import END_OF_TEXT, TinyModel, _bfloat16_bytes, make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny_model(folder, TinyModel())
    return folder


def _json(file: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
    return content


def test_it_has_the_layout_of_qwen3_embedding(model: Path) -> None:
    files = {str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()}
    assert files == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "1_Pooling/config.json",
        "config_sentence_transformers.json",
    }
    assert _json(model / "config.json")["architectures"] == ["Qwen3ForCausalLM"]
    assert _json(model / "1_Pooling" / "config.json")["pooling_mode_lasttoken"] is True
    prompts = _json(model / "config_sentence_transformers.json")["prompts"]
    assert isinstance(prompts, dict)
    assert prompts["query"].startswith("Instruct: ")
    assert prompts["query"].endswith("\nQuery:")


def test_the_toolkit_reads_it_as_a_decoder_with_last_token_pooling(model: Path) -> None:
    folder = read_folder(model)
    assert (folder.pooling, folder.is_encoder, folder.kv_shape) == ("last", False, (2, 2, 32))


def test_every_text_ends_in_the_eos_token_that_pooling_needs(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    for text in ("", "Apples are a fruit", "苹果", "नमस्ते", "🍎", "\n\n"):
        assert tokenizer.encode(text).tokens[-1] == END_OF_TEXT
        assert tokenizer.encode(text).tokens.count(END_OF_TEXT) == 1


def test_the_tokenizer_was_trained_and_loses_nothing(model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    for text in ("Python is a programming language", "苹果是一种水果", "Wörter, שלום 🍎 x=1\n"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode("programming language").ids) < 8
    assert tokenizer.get_vocab_size() == _json(model / "config.json")["vocab_size"]


def test_the_weights_are_whole_bf16_safetensors(model: Path) -> None:
    raw = (model / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__")
    ends = [tensor["data_offsets"][1] for tensor in header.values()]
    assert max(ends) == len(raw) - 8 - length
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    assert header["model.embed_tokens.weight"]["shape"][1] == 128


def test_bf16_rounds_to_the_nearest_and_ties_to_even() -> None:
    values = np.array([1.0, 1.00390625, 1.01171875, 1.005, -3.14159], dtype=np.float32)
    upper = np.frombuffer(_bfloat16_bytes(values), dtype="<u2").astype(np.uint32) << 16
    assert upper.view(np.float32).tolist() == [1.0, 1.0, 1.015625, 1.0078125, -3.140625]


def test_the_same_seed_gives_the_same_files_and_another_one_does_not(
    model: Path, tmp_path: Path
) -> None:
    make_tiny_model(tmp_path / "again", TinyModel())
    make_tiny_model(tmp_path / "other", TinyModel(seed=1))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes()
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    assert other != (model / "model.safetensors").read_bytes()


def test_hidden_size_and_layers_can_be_chosen(tmp_path: Path) -> None:
    begun = time.monotonic()
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=256, layers=3))
    config = _json(tmp_path / "m" / "config.json")
    assert (config["hidden_size"], config["num_hidden_layers"]) == (256, 3)
    assert time.monotonic() - begun < 60  # a hang, not a benchmark


@pytest.mark.parametrize("shape", [{"hidden_size": 100}, {"hidden_size": 0}, {"layers": 0}])
def test_shapes_that_cannot_be_made_are_wrong_use(shape: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        TinyModel(**shape)


def test_an_existing_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(KitError, match="exists already"):
        make_tiny_model(tmp_path / "mine", TinyModel())
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="cannot be written"):
        make_tiny_model(tmp_path / "file" / "model", TinyModel())
