"""Models written for tests: a healthy one of any size, to be broken in one place."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model

Tensors = Mapping[str, tuple[str, Sequence[int]]]
"""Type, by the format's name, and shape of each tensor."""

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8}


def small_model(folder: Path) -> Path:
    """Write the smallest model that nothing is wrong with, and return its folder."""
    make_tiny_model(folder, TinyModel(hidden_size=64, layers=1))
    return folder


def change_json(file: Path, **changes: object) -> None:
    """Change keys of a JSON file; None takes a key out."""
    content = json.loads(file.read_text()) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    file.write_text(json.dumps(kept))


def header_of(tensors: Tensors) -> tuple[dict[str, Any], int]:
    """Return a safetensors header for tensors, and the bytes of data that it promises."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (dtype, shape) in tensors.items():
        end = start + math.prod(shape) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    return header, start


def write_safetensors(file: Path, tensors: Tensors) -> None:
    """Write a safetensors file whose data are zeros, which take no space on the disk."""
    header, data_bytes = header_of(tensors)
    write_header(file, json.dumps(header).encode(), data_bytes)


def write_header(file: Path, header: bytes, data_bytes: int, claimed: int | None = None) -> None:
    """Write a safetensors file from its header's bytes.

    Args:
        file: Where.
        header: The header, which need not be one.
        data_bytes: Bytes of zeros behind it.
        claimed: Length that the file claims its header to have; None for the true one.
    """
    length = len(header) if claimed is None else claimed
    with file.open("wb") as output:
        output.write(length.to_bytes(8, "little"))
        output.write(header)
        output.truncate(8 + len(header) + data_bytes)


def write_index(folder: Path, shards: Mapping[str, Tensors]) -> None:
    """Write the index of shards."""
    weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
    content = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def qwen_8b(folder: Path) -> Path:
    """Write a model of the shape of Qwen3-Embedding-8B: four shards, without their data."""
    small_model(folder)
    (folder / "model.safetensors").unlink()
    change_json(
        folder / "config.json",
        hidden_size=4096,
        intermediate_size=12288,
        max_position_embeddings=40960,
        num_attention_heads=32,
        num_hidden_layers=36,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=False,
        vocab_size=151665,
    )
    tensors: dict[str, tuple[str, Sequence[int]]] = {
        "embed_tokens.weight": ("BF16", [151665, 4096]),
        "norm.weight": ("BF16", [4096]),
    }
    for index in range(36):
        layer = f"layers.{index}"
        tensors |= {
            f"{layer}.self_attn.q_proj.weight": ("BF16", [4096, 4096]),
            f"{layer}.self_attn.k_proj.weight": ("BF16", [1024, 4096]),
            f"{layer}.self_attn.v_proj.weight": ("BF16", [1024, 4096]),
            f"{layer}.self_attn.o_proj.weight": ("BF16", [4096, 4096]),
            f"{layer}.self_attn.q_norm.weight": ("BF16", [128]),
            f"{layer}.self_attn.k_norm.weight": ("BF16", [128]),
            f"{layer}.mlp.gate_proj.weight": ("BF16", [12288, 4096]),
            f"{layer}.mlp.up_proj.weight": ("BF16", [12288, 4096]),
            f"{layer}.mlp.down_proj.weight": ("BF16", [4096, 12288]),
            f"{layer}.input_layernorm.weight": ("BF16", [4096]),
            f"{layer}.post_attention_layernorm.weight": ("BF16", [4096]),
        }
    names = list(tensors)
    shards = {
        f"model-{number + 1:05}-of-00004.safetensors": {n: tensors[n] for n in names[number::4]}
        for number in range(4)
    }
    for name, part in shards.items():
        write_safetensors(folder / name, part)
    write_index(folder, shards)
    return folder


def qwen_tokenizer(file: Path, tokens: int = 151_643) -> None:
    """Make a small tokenizer.json as large as Qwen's: so many tokens, nearly as many merges.

    The words are made of their first letters, as in a trained one; they mean nothing.
    """
    content = json.loads(file.read_text())
    model = content["model"]
    vocabulary, merges = list(model["vocab"]), model["merges"]
    known = set(vocabulary)
    letters = [token for token in vocabulary if len(token) == 1]
    for start in vocabulary:  # grows while it is walked
        for letter in letters:
            if start + letter not in known and len(vocabulary) < tokens:
                known.add(start + letter)
                vocabulary.append(start + letter)
                merges.append([start, letter])
    model["vocab"] = {token: number for number, token in enumerate(vocabulary)}
    for number, token in enumerate(content["added_tokens"], tokens):
        token["id"] = number
    end = content["post_processor"]["special_tokens"]["<|endoftext|>"]
    end["ids"] = [tokens]
    file.write_text(json.dumps(content, ensure_ascii=False, indent=2))
