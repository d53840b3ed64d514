"""A vector's fingerprint: two vectors may be compared only if they were made alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sgl_embed_kit.model.safetensors import WeightFile

DIGITS = 16
"""Hexadecimal digits of a fingerprint: 64 bits, far more than indexes will ever meet."""

_CLASSES = {
    "float32": "full",
    "float64": "full",
    "float16": "half",
    "bfloat16": "half",
}


@dataclass(frozen=True)
class Ingredients:
    """All that two comparable vectors have in common.

    Attributes:
        weights: `weights_digest` of the safetensors files.
        tokenizer: SHA-256 of tokenizer.json in hexadecimal.
        pooling: How tokens become one vector: "cls", "mean" or "last".
        normalised: Whether vectors have length 1.
        prompt: The text that is put before each text.
        dimensions: Numbers in a vector.
        dtype_class: `dtype_class` of the type that the server computes in.
    """

    weights: str
    tokenizer: str
    pooling: str
    normalised: bool
    prompt: str
    dimensions: int
    dtype_class: str


def fingerprint(ingredients: Ingredients) -> str:
    """Return the name of vectors that were made alike.

    It depends on nothing but the ingredients: not on paths, times, the machine, or the
    order of anything. Changing what goes in, or how, changes every index's name: don't.
    """
    text = json.dumps(asdict(ingredients), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def weights_digest(files: Sequence[tuple[WeightFile, Sequence[bytes]]]) -> str:
    """Return a SHA-256 of weights by their headers, sizes and a few pages of their data.

    Header and size alone would give two models of one shape the same name: a fine-tuned
    model and its base. Reading all of the data would take a minute for a large one.

    Args:
        files: Each safetensors file with what `samples` returned for it, in any order.
    """
    parts = sorted(
        json.dumps([file.header_sha256, file.size, hashlib.sha256(b"".join(pages)).hexdigest()])
        for file, pages in files
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def dtype_class(dtype: str) -> str:
    """Return how exact a type is, by torch's name of it: "full", "half", or the type itself.

    Vectors of float16 and bfloat16 agree to three digits, which is near enough to compare
    them; a type of eight bits is a class of its own.
    """
    return _CLASSES.get(dtype, dtype)
