"""Look into a model folder before anything heavy does, and name what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.guard.declared import (
    BIDIRECTIONAL_ARCHITECTURES,
    Pooling,
    UnsupportedPoolingError,
    declared_pooling,
)

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
POSITION_KEYS = (
    "max_sequence_length",
    "seq_length",
    "max_seq_len",
    "model_max_length",
    "max_position_embeddings",
)
"""Keys in which SGLang looks for the longest context, in this order
(CONTEXT_LENGTH_KEYS in srt/utils/hf_transformers/common.py of 0.5.23)."""
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder says.

    Attributes:
        path: The folder.
        architectures: `architectures` of config.json.
        positions: Longest context that SGLang takes from config.json, or None where it
            has no such key.
        longest_text: Tokens that the model declares a text may have
            (sentence_bert_config.json), or None where it declares nothing.
        hidden_size: Width of the hidden state, or None where config.json lacks it.
        attention_heads: Query heads, or None where config.json lacks them.
        kv_shape: Layers, KV heads and head dimension, or None where config.json lacks them.
        weight_bytes: Size of all safetensors files.
        pooling: The pooling that it declares, or None where it declares none.
    """

    path: Path
    architectures: tuple[str, ...]
    positions: int | None
    longest_text: int | None
    hidden_size: int | None
    attention_heads: int | None
    kv_shape: tuple[int, int, int] | None
    weight_bytes: int
    pooling: Pooling | None

    @property
    def is_encoder(self) -> bool:
        """Whether its attention looks both ways, so that a prefix cannot be reused."""
        return not BIDIRECTIONAL_ARCHITECTURES.isdisjoint(self.architectures)


def read_folder(path: Path) -> ModelFolder:
    """Read what launching needs to know of a model folder.

    Raises:
        KitError: SGLang could not load it, or would make wrong vectors of it.
    """
    if not path.is_dir():
        raise KitError(
            f"There is no model folder {path}.",
            why="It is a file." if path.exists() else "The path does not exist.",
            cure=f"ls -d {path.parent}/*",
        )
    config = _config(path)
    weights = sorted(path.glob("*.safetensors"))
    _check_weights(path, weights)
    architectures = tuple(str(name) for name in config.get("architectures") or ())
    return ModelFolder(
        path=path,
        architectures=architectures,
        positions=_positions(config),
        longest_text=_longest_text(path),
        hidden_size=_count(config, "hidden_size"),
        attention_heads=_count(config, "num_attention_heads"),
        kv_shape=_kv_shape(config),
        weight_bytes=sum(file.stat().st_size for file in weights),
        pooling=_pooling(path),
    )


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        inner = [child.parent for child in path.glob("*/*.safetensors")]
        raise KitError(
            f"{path} is not a model folder.",
            why="It has no config.json."
            + (f" The model seems to be one folder deeper, in {inner[0].name}." if inner else ""),
            cure=f"sgl-embed quickstart --model {inner[0]}" if inner else f"ls {path}",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise KitError(
            f"{file} cannot be read.", why=str(error), cure=f"python -m json.tool {file}"
        ) from error
    if not isinstance(config, dict):
        raise KitError(f"{file} is not a model's configuration.", why="It holds no JSON object.")
    return config


def _positions(config: dict[str, Any]) -> int | None:
    """Return the context that SGLang derives (get_context_length in the same file)."""
    scaling = config.get("rope_scaling")
    factor: Any = 1
    if isinstance(scaling, dict) and scaling.get("rope_type") != "llama3":
        original = "original_max_position_embeddings" in scaling
        factor = 1 if original else scaling.get("factor", 1)
    counts = (_count(config, key) for key in POSITION_KEYS)
    positions = next((count for count in counts if count is not None), None)
    return int(factor * positions) if positions and isinstance(factor, int | float) else None


def _kv_shape(config: dict[str, Any]) -> tuple[int, int, int] | None:
    layers, heads = _count(config, "num_hidden_layers"), _count(config, "num_attention_heads")
    hidden = _count(config, "hidden_size")
    if layers is None or heads is None or hidden is None:
        return None
    kv_heads = _count(config, "num_key_value_heads") or heads
    return layers, kv_heads, _count(config, "head_dim") or hidden // heads


def _count(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and value > 0 else None


def _longest_text(path: Path) -> int | None:
    """Return the tokens of a text that sentence-transformers would keep."""
    try:
        text = (path / "sentence_bert_config.json").read_text(encoding="utf-8")
        declared = json.loads(text)
    except (OSError, ValueError):
        return None
    return _count(declared, "max_seq_length") if isinstance(declared, dict) else None


def _check_weights(path: Path, weights: list[Path]) -> None:
    if not weights:
        pickles = [file.name for file in path.iterdir() if file.suffix in PICKLE_SUFFIXES]
        raise KitError(
            f"{path} holds no weights.",
            why=(
                f"It has {pickles[0]}, a pickle file that can run code when it is loaded, "
                "and no .safetensors file."
                if pickles
                else "It has no .safetensors file."
            ),
            cure=f"ls -l {path}",
        )
    for file in [*weights, path / "tokenizer.json"]:
        if file.is_file() and _begins_with(file, LFS_POINTER):
            raise KitError(
                f"{file} is a Git-LFS pointer, not the file itself.",
                why="The repository was cloned without Git LFS.",
                cure=f"git -C {path} lfs pull",
            )


def _pooling(path: Path) -> Pooling | None:
    def read(name: str) -> str | None:
        file = path / name
        return file.read_text(encoding="utf-8") if file.is_file() else None

    try:
        return declared_pooling(read)
    except (UnsupportedPoolingError, OSError, UnicodeDecodeError) as error:
        raise KitError(
            f"{path} declares a pooling that SGLang cannot do.",
            why=f"{error}. SGLang can pool by CLS, mean or last token.",
        ) from error


def _begins_with(file: Path, start: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(start)) == start
