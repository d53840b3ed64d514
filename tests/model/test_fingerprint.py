"""A fingerprint changes with each of its ingredients, and with nothing else."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from sgl_embed_kit.model.facts import read_facts
from sgl_embed_kit.model.fingerprint import Ingredients, dtype_class, fingerprint
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import inspect_files, served_fingerprint
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from tests.model.builders import change_json

SOME = Ingredients("w", "t", "last", True, "", 1024, "half")
CHANGES: dict[str, object] = {
    "weights": "other",
    "tokenizer": "other",
    "pooling": "mean",
    "normalised": False,
    "prompt": "Query:",
    "dimensions": 512,
    "dtype_class": "full",
}


def of(folder: Path) -> str:
    found = inspect_files(local_files(folder)).fingerprint
    assert found is not None
    return found


def test_it_never_changes_from_release_to_release() -> None:
    assert fingerprint(SOME) == "50a604e49ffd7655"


def test_every_ingredient_is_tried_below() -> None:
    assert {field.name for field in fields(Ingredients)} == set(CHANGES)


@pytest.mark.parametrize("name", CHANGES)
def test_each_ingredient_changes_it(name: str) -> None:
    changed = replace(SOME, **{name: CHANGES[name]})  # type: ignore[arg-type]
    assert fingerprint(changed) != fingerprint(SOME)


def test_it_knows_no_paths_and_no_times(model: Path, healthy: Path) -> None:
    for file in model.rglob("*"):
        os.utime(file, (0, 0))
    assert of(model) == of(healthy)


def test_files_that_make_no_vectors_do_not_change_it(model: Path, healthy: Path) -> None:
    (model / "README.md").write_text("changed")
    change_json(model / "config.json", transformers_version="9")
    change_json(model / "config_sentence_transformers.json", prompts={})
    assert of(model) == of(healthy)


def test_other_weights_of_the_same_shape_change_it(tmp_path: Path, healthy: Path) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=64, layers=1, seed=1))
    header = (tmp_path / "m" / "model.safetensors").read_bytes()[:200]
    assert header == (healthy / "model.safetensors").read_bytes()[:200]
    assert of(tmp_path / "m") != of(healthy)


def test_another_tokenizer_changes_it(model: Path, healthy: Path) -> None:
    with (model / "tokenizer.json").open("a") as file:
        file.write("\n")
    assert of(model) != of(healthy)


def test_the_pooling_that_is_served_changes_it(model: Path) -> None:
    change_json(model / "config.json", architectures=["BertModel"])
    found = set()
    for mode in ("cls", "mean", "lasttoken"):
        (model / "1_Pooling" / "config.json").write_text(f'{{"pooling_mode": "{mode}"}}')
        found.add(of(model))
    assert len(found) == 3


def test_the_type_that_is_loaded_changes_it_by_class(model: Path, healthy: Path) -> None:
    change_json(model / "config.json", torch_dtype="float16")
    assert of(model) == of(healthy)
    change_json(model / "config.json", torch_dtype="float64")
    assert of(model) != of(healthy)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", "full"), ("float16", "half"), ("bfloat16", "half"), ("int8", "int8")],
)
def test_types_that_agree_to_three_digits_are_one_class(dtype: str, expected: str) -> None:
    assert dtype_class(dtype) == expected


def test_a_model_that_cannot_be_served_has_none(model: Path) -> None:
    change_json(model / "config.json", architectures=["Qwen3ForSequenceClassification"])
    assert inspect_files(local_files(model)).fingerprint is None


def test_the_served_fingerprint_is_that_of_an_inspection_where_all_is_as_usual(
    tiny_folder: Path,
) -> None:
    files = local_files(tiny_folder)
    facts = read_facts(files)
    usual = served_fingerprint(files, facts, dtype="auto", guarded=True)
    assert usual is not None
    assert usual == inspect_files(files).fingerprint
    assert served_fingerprint(files, facts, dtype="half", guarded=False) == usual
    assert served_fingerprint(files, facts, dtype="bfloat16", guarded=True) == usual
    full = {served_fingerprint(files, facts, dtype=d, guarded=True) for d in ("float", "float32")}
    assert len(full) == 1
    assert full != {usual}


def test_without_the_guard_an_encoder_of_mean_pooling_has_other_vectors(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    make_tiny_model(folder, TinyModel())
    change_json(folder / "config.json", architectures=["BertModel"])
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    files = local_files(folder)
    facts = read_facts(files)
    guarded = served_fingerprint(files, facts, dtype="auto", guarded=True)
    stock = served_fingerprint(files, facts, dtype="auto", guarded=False)
    assert None not in {guarded, stock}
    assert guarded != stock


def test_a_folder_without_tokenizer_has_no_served_fingerprint(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny_folder, folder)
    (folder / "tokenizer.json").unlink()
    files = local_files(folder)
    assert served_fingerprint(files, read_facts(files), dtype="auto", guarded=True) is None
