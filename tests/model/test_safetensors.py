"""Headers of safetensors files: read exactly, and each lie in them found.

What is refused here, the safetensors library, with which SGLang loads, refuses too: each
broken file is shown to it as well.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.model.files import LocalFiles
from sgl_embed_kit.model.safetensors import (
    BITS,
    HEADER_LIMIT,
    LFS_POINTER,
    SAMPLE_BYTES,
    BrokenError,
    LfsPointerError,
    WeightFile,
    read_header,
    samples,
)
from tests.model.builders import header_of, write_header, write_safetensors

TENSORS = {"a": ("BF16", [3, 4]), "b": ("F32", [5]), "c": ("F32", [])}
NAME = "model.safetensors"


def header_from(folder: Path) -> WeightFile:
    return read_header(LocalFiles(folder), NAME)


def library_takes(file: Path) -> bool:
    """Say whether the safetensors library opens a file."""
    if importlib.util.find_spec("safetensors") is None:
        pytest.skip("safetensors is not installed; get it with: make test")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy"):
            return True
    except SafetensorError:
        return False


def test_a_header_gives_elements_and_bytes_of_each_type(tmp_path: Path) -> None:
    write_safetensors(tmp_path / NAME, TENSORS)
    found = header_from(tmp_path)
    assert found.parameters == {"BF16": 12, "F32": 6}
    assert found.data_bytes == {"BF16": 24, "F32": 24}
    assert found.tensors == {"a", "b", "c"}
    assert found.size == (tmp_path / NAME).stat().st_size == 8 + found.header_bytes + 48
    assert library_takes(tmp_path / NAME)


def test_metadata_may_say_anything(tmp_path: Path) -> None:
    header, data_bytes = header_of(TENSORS)
    header["__metadata__"] = {"format": "pt", "dtype": "whatever"}
    write_header(tmp_path / NAME, json.dumps(header).encode(), data_bytes)
    assert header_from(tmp_path).tensors == {"a", "b", "c"}


def broken(**changes: Any) -> bytes:
    """Return the header of TENSORS with changed entries."""
    header, _ = header_of(TENSORS)
    header.pop("__metadata__")
    for name, change in changes.items():
        header[name] |= change
    return json.dumps(header).encode()


@pytest.mark.parametrize(
    ("header", "data_bytes", "claimed", "why"),
    [
        (b"{}", 0, 2**63, "claims 9223372036854775808 bytes, and the file has 10"),
        (b"{}", 0, 2**64 - 1, "claims 18446744073709551615 bytes"),
        (b"{}", 0, 3, "claims 3 bytes"),
        (broken(), 47, None, "cut short"),
        (broken(), 49, None, "more than the"),
        (broken(), 0, None, "cut short"),
        (broken(b={"data_offsets": [0, 20]}), 48, None, "overlap, or leave a gap"),
        (broken(b={"data_offsets": [25, 45]}), 49, None, "overlap, or leave a gap"),
        (broken(a={"data_offsets": [24, 0]}), 48, None, "a is given -24 bytes"),
        (broken(a={"data_offsets": [0, 2**63]}), 48, None, "a is given"),
        (broken(a={"shape": [3, 5]}), 48, None, "do not fill"),
        (broken(a={"shape": [-3, -4]}), 48, None, "negative"),
        (broken(a={"shape": [2**62, 2**62, 2**62]}), 48, None, "do not fill"),
        (broken(a={"shape": [1] * 100_000}), 48, None, "do not fill"),
        (broken(a={"dtype": "F7"}), 48, None, "unknown type 'F7'"),
        (b"[]", 0, None, "cannot be read"),
        (b"{", 0, None, "cannot be read"),
        (b'{"a": 1}', 0, None, "cannot be read"),
        (b'{"a": {"dtype": "\xff"}}', 0, None, "cannot be read"),
        (b'{"a":' + b"[" * 100_000, 0, None, "cannot be read|too deeply"),
        (b'{"a":{"x":' + b"[" * 100_000, 0, None, "too deeply"),
    ],
)
def test_a_header_that_lies_is_found_out(
    tmp_path: Path, header: bytes, data_bytes: int, claimed: int | None, why: str
) -> None:
    write_header(tmp_path / NAME, header, data_bytes, claimed)
    with pytest.raises(BrokenError, match=why):
        header_from(tmp_path)
    assert not library_takes(tmp_path / NAME)


@pytest.mark.parametrize("content", [b"", b"1234567"])
def test_a_file_without_a_length_is_broken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(BrokenError, match="fewer than the format's first field"):
        header_from(tmp_path)
    assert not library_takes(tmp_path / NAME)


def test_a_header_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    write_header(tmp_path / NAME, b"", 2 * HEADER_LIMIT, claimed=HEADER_LIMIT + 1)
    with pytest.raises(BrokenError, match=f"no more than {HEADER_LIMIT} are read"):
        header_from(tmp_path)


def test_a_git_lfs_pointer_is_told_from_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(LFS_POINTER + b"\noid sha256:00\nsize 1\n")
    with pytest.raises(LfsPointerError):
        header_from(tmp_path)


def test_samples_are_spread_over_the_data(tmp_path: Path) -> None:
    write_safetensors(tmp_path / NAME, {"a": ("F32", [64 * 1024])})
    with (tmp_path / NAME).open("r+b") as file:
        file.seek(-64 * 1024, 2)  # the last quarter
        file.write(b"\1" * 10)
    weights = header_from(tmp_path)
    pages = samples(LocalFiles(tmp_path), weights)
    assert [len(page) for page in pages] == [SAMPLE_BYTES] * 4
    assert [any(page) for page in pages] == [False, False, False, True]


def test_samples_of_small_weights_are_all_of_them(tmp_path: Path) -> None:
    write_safetensors(tmp_path / NAME, TENSORS)
    assert len(samples(LocalFiles(tmp_path), header_from(tmp_path))[0]) == 48


@pytest.mark.parametrize("dtype", BITS)
def test_the_sizes_of_types_are_the_librarys(tmp_path: Path, dtype: str) -> None:
    entry = {"dtype": dtype, "shape": [8], "data_offsets": [0, BITS[dtype]]}
    write_header(tmp_path / NAME, json.dumps({"a": entry}).encode(), BITS[dtype])
    assert header_from(tmp_path).parameters == {dtype: 8}
    assert library_takes(tmp_path / NAME)
