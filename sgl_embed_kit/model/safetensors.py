"""The headers of safetensors files: what the weights are, without reading them.

A file is eight bytes of header length (little endian), a JSON header, then the data; the
tensors fill the data without a gap (https://huggingface.co/docs/safetensors, "Format").
What is refused here, the library that SGLang loads with refuses too.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sgl_embed_kit.model.files import MIB, ModelFiles, UnreadableError

LENGTH_BYTES = 8
HEADER_LIMIT = 4 * MIB
"""Bytes of a header that are read. The library takes 100 MB; a model of 8B parameters has
some 40 kB, and a header of this size describes forty thousand tensors."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
MOST_AXES = 16
"""Axes of a tensor: models have four; multiplying millions would take all day."""
SAMPLES = 4
SAMPLE_BYTES = 4096

BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E8M0": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}
"""Bits of an element by the format's name of its type (Dtype::bitsize in the safetensors
library's tensor.rs)."""
TORCH_NAMES = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "BOOL": "bool",
}


class BrokenError(Exception):
    """A file that is no whole safetensors file; the text says why, as a sentence."""


class LfsPointerError(BrokenError):
    """The file is the pointer that Git LFS leaves where it did not fetch the file."""


class _Tensor(msgspec.Struct):
    """An entry of the header. What lacks these keys is `__metadata__`, or refused later."""

    dtype: str = ""
    shape: tuple[int, ...] = ()
    data_offsets: tuple[int, int] = (0, 0)


_HEADER = msgspec.json.Decoder(dict[str, _Tensor])


@dataclass(frozen=True)
class WeightFile:
    """What a safetensors file's header says.

    Attributes:
        name: Path inside the model.
        size: Bytes of the whole file.
        header_bytes: Bytes of the JSON header.
        header_sha256: Its SHA-256 in hexadecimal.
        tensors: Names of the tensors.
        parameters: Elements of each type, by the format's name of the type.
        data_bytes: Bytes of each type.
    """

    name: str
    size: int
    header_bytes: int
    header_sha256: str
    tensors: frozenset[str]
    parameters: Mapping[str, int]
    data_bytes: Mapping[str, int]


def read_header(files: ModelFiles, name: str) -> WeightFile:
    """Read a safetensors file's header and hold it against the file's size.

    Raises:
        BrokenError: the file is not whole, or not of this format.
    """
    size = files.sizes[name]
    try:
        start = files.read_at(name, 0, len(LFS_POINTER))
        if start == LFS_POINTER:
            raise LfsPointerError("it is a Git-LFS pointer, not the file itself")
        if len(start) < LENGTH_BYTES:
            raise BrokenError(f"it has {size} bytes, fewer than the format's first field")
        length = int.from_bytes(start[:LENGTH_BYTES], "little")
        if length > size - LENGTH_BYTES:
            raise BrokenError(f"its header claims {length} bytes, and the file has {size}")
        if length > HEADER_LIMIT:
            raise BrokenError(
                f"its header claims {length} bytes, and no more than {HEADER_LIMIT} are read"
            )
        header = files.read_at(name, LENGTH_BYTES, length)
    except UnreadableError as error:
        raise BrokenError(str(error)) from error
    return _checked(name, size, header)


def samples(files: ModelFiles, weights: WeightFile) -> list[bytes]:
    """Return a few pages of a file's data, evenly spread from its beginning.

    Raises:
        BrokenError: they cannot be read.
    """
    begin = LENGTH_BYTES + weights.header_bytes
    step = (weights.size - begin) // SAMPLES
    try:
        return [
            files.read_at(weights.name, begin + index * step, SAMPLE_BYTES)
            for index in range(SAMPLES)
        ]
    except UnreadableError as error:
        raise BrokenError(str(error)) from error


def _checked(name: str, size: int, header: bytes) -> WeightFile:
    tensors = _tensors(header)
    parameters: Counter[str] = Counter()
    data_bytes: Counter[str] = Counter()
    filled = 0
    for tensor_name, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if tensor.dtype not in BITS:
            raise BrokenError(f"{tensor_name} has the unknown type {tensor.dtype!r}")
        if min(tensor.shape, default=1) < 0:
            raise BrokenError(f"{tensor_name} has a negative size")
        elements = math.prod(tensor.shape[:MOST_AXES])
        if len(tensor.shape) > MOST_AXES or elements * BITS[tensor.dtype] != 8 * (end - begin):
            raise BrokenError(
                f"{tensor_name} is given {end - begin} bytes, which its shape and type do not fill"
            )
        if begin != filled:
            raise BrokenError(
                f"{tensor_name} begins at byte {begin} of the data, where {filled} is expected: "
                "tensors overlap, or leave a gap"
            )
        filled = end
        parameters[tensor.dtype] += elements
        data_bytes[tensor.dtype] += end - begin
    promised = LENGTH_BYTES + len(header) + filled
    if promised > size:
        raise BrokenError(f"it is cut short: its header promises {promised} bytes, it has {size}")
    if promised < size:
        raise BrokenError(f"it has {size} bytes, more than the {promised} that its header promises")
    return WeightFile(
        name=name,
        size=size,
        header_bytes=len(header),
        header_sha256=hashlib.sha256(header).hexdigest(),
        tensors=frozenset(tensors),
        parameters=dict(parameters),
        data_bytes=dict(data_bytes),
    )


def _tensors(header: bytes) -> dict[str, _Tensor]:
    try:
        tensors = _HEADER.decode(header)
    except RecursionError as error:
        raise BrokenError("its header is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BrokenError(f"its header cannot be read: {error}") from error
    tensors.pop("__metadata__", None)
    return tensors
