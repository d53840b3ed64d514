"""Which weights SGLang would load, and each thing that can be wrong with the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sgl_embed_kit.model.faults import Fault, Severity
from sgl_embed_kit.model.files import LocalFiles
from sgl_embed_kit.model.safetensors import LFS_POINTER
from sgl_embed_kit.model.weights import INDEX_FILE, Weights, read_weights
from tests.model.builders import write_index, write_safetensors

SHARDS = {
    "model-00001-of-00002.safetensors": {"a": ("BF16", [2, 3]), "b": ("F32", [1])},
    "model-00002-of-00002.safetensors": {"c": ("BF16", [10])},
}
FIRST, SECOND = SHARDS


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    for name, tensors in SHARDS.items():
        write_safetensors(tmp_path / name, tensors)
    write_index(tmp_path, SHARDS)
    return tmp_path


def read(folder: Path) -> tuple[Weights, list[Fault]]:
    return read_weights(LocalFiles(folder))


def only_fault(folder: Path) -> Fault:
    (fault,) = read(folder)[1]
    return fault


def test_shards_add_up(sharded: Path) -> None:
    weights, faults = read(sharded)
    assert faults == []
    assert weights.parameters == {"bfloat16": 16, "float32": 1}
    assert weights.data_bytes == {"bfloat16": 32, "float32": 4}
    assert (weights.size, weights.dtype) == (36, "bfloat16")
    assert weights.tensors == {"a", "b", "c"}


def test_a_shard_that_the_index_promises_and_is_not_there(sharded: Path) -> None:
    (sharded / SECOND).unlink()
    missing = read(sharded)[1][0]
    assert missing.what == f"{sharded} lacks {SECOND}."
    assert missing.why == f"{INDEX_FILE} promises 1 more than there is."
    assert missing.cure


def test_a_shard_that_only_the_names_of_the_others_promise(sharded: Path) -> None:
    (sharded / INDEX_FILE).unlink()
    (sharded / SECOND).unlink()
    assert f"lacks {SECOND}" in only_fault(sharded).what


def test_a_tensor_that_is_not_in_its_shard(sharded: Path) -> None:
    write_safetensors(sharded / SECOND, {"d": ("BF16", [10])})
    fault = only_fault(sharded)
    assert "lacks tensors that its index promises: c" in fault.what
    assert f"{SECOND} has c" in fault.why


def test_a_file_that_the_index_leaves_out_is_not_counted(sharded: Path) -> None:
    write_safetensors(sharded / "consolidated.safetensors", {"z": ("F32", [1000])})
    weights, faults = read(sharded)
    assert weights.size == 36
    assert weights.ignored == ("consolidated.safetensors",)
    assert [fault.severity for fault in faults] == [Severity.WARNING]


def test_every_broken_shard_is_named_not_only_the_first(sharded: Path) -> None:
    for name in SHARDS:
        content = (sharded / name).read_bytes()
        (sharded / name).write_bytes(content[:-1])
    faults = read(sharded)[1]
    assert [fault.what for fault in faults] == [f"{sharded / name} is broken." for name in SHARDS]
    assert all("It is cut short" in fault.why for fault in faults)


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 1}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none(sharded: Path, index: str) -> None:
    (sharded / INDEX_FILE).write_text(index)
    assert f"{INDEX_FILE} is broken" in only_fault(sharded).what


def test_an_index_that_leads_out_of_the_folder_only_lacks_files(sharded: Path) -> None:
    (sharded / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": "../../etc/passwd"}}))
    assert "lacks ../../etc/passwd" in read(sharded)[1][0].what


def test_a_git_lfs_pointer(sharded: Path) -> None:
    (sharded / FIRST).write_bytes(LFS_POINTER + b"\noid sha256:00\nsize 1\n")
    fault = only_fault(sharded)
    assert fault.what == f"{sharded / FIRST} is a Git-LFS pointer, not the file itself."
    assert fault.cure == f"git -C {sharded} lfs pull"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "a.pkl"])
def test_weights_only_as_a_pickle_are_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    fault = only_fault(tmp_path)
    assert fault.severity is Severity.ERROR
    assert f"{name}, a pickle file that can run code when it is loaded" in fault.why


def test_a_pickle_beside_safetensors_is_a_warning(sharded: Path) -> None:
    (sharded / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    fault = only_fault(sharded)
    assert fault.severity is Severity.WARNING
    assert "pytorch_model.bin" in fault.what


def test_weights_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    what = [fault.what for fault in read(tmp_path)[1]]
    assert what[0] == f"{tmp_path / 'model.safetensors'} cannot be read."


def test_thousands_of_broken_files_do_not_make_thousands_of_sentences(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.safetensors").write_bytes(b"")
    assert len(read(tmp_path)[1]) < 30
