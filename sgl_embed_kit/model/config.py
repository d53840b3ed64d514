"""What config.json says, as SGLang reads it. Values that are no counts are not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sgl_embed_kit.model.shape import QWEN3_ARCHITECTURES

POSITION_KEYS = (
    "max_sequence_length",
    "seq_length",
    "max_seq_len",
    "model_max_length",
    "max_position_embeddings",
)
"""Keys in which SGLang looks for the longest context, in this order
(CONTEXT_LENGTH_KEYS in srt/utils/hf_transformers/common.py of 0.5.23)."""

TRAINED_LENGTH_ROPES = frozenset({"llama3", "yarn", "longrope"})
"""Scalings for which transformers 5 fills in the length that the model was trained for
(standardize_rope_params, modeling_rope_utils.py), whereupon SGLang counts no factor."""


@dataclass(frozen=True)
class Config:
    """What config.json says of the model's shape; None where it says nothing.

    Attributes:
        layers: Transformer layers.
        hidden_size: Width of the hidden state.
        intermediate_size: Width of the feed-forward layer.
        attention_heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        vocabulary: Rows of the embedding table.
        positions: Longest context that SGLang derives.
        rope_scaling: Kind of the scaling of rotary positions.
        sliding_window: Tokens that attention looks back; None where it sees all.
        ties_head: Whether the output head is the embedding table.
        dtype: Type of the weights, as config.json names it.
        quantization: Method of quantisation.
        padding_id: Id of the padding token.
        token_types: Rows of the table of token types.
        attention_bias: Whether the projections of the attention have biases.
    """

    layers: int | None = None
    hidden_size: int | None = None
    intermediate_size: int | None = None
    attention_heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocabulary: int | None = None
    positions: int | None = None
    rope_scaling: str | None = None
    sliding_window: int | None = None
    ties_head: bool = False
    dtype: str | None = None
    quantization: str | None = None
    padding_id: int | None = None
    token_types: int = 0
    attention_bias: bool = False


def read_config(config: Mapping[str, Any]) -> Config:
    """Read what SGLang would take from a parsed config.json.

    A model of several kinds of input has the language model's part under `text_config`
    (get_hf_text_config, srt/utils/hf_transformers/common.py). What is left out means what it
    means in transformers 5.19: an output head of its own in every configuration class that
    has one and is known here; in Qwen3Config heads of 128 and 32 KV heads; in BertConfig two
    token types; elsewhere as many KV heads as heads, which share the hidden state.
    """
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, dict) else config
    heads, hidden = count(text, "num_attention_heads"), count(text, "hidden_size")
    names = config.get("architectures")
    architectures = set(map(str, names)) if isinstance(names, list) else set()
    is_qwen = not QWEN3_ARCHITECTURES.isdisjoint(architectures)
    shared_out = hidden // heads if hidden and heads else None
    scaling = _rope_scaling(text)
    quantization = config.get("quantization_config")
    return Config(
        layers=count(text, "num_hidden_layers"),
        hidden_size=hidden,
        intermediate_size=count(text, "intermediate_size"),
        attention_heads=heads,
        kv_heads=count(text, "num_key_value_heads") or (32 if is_qwen else heads),
        head_dim=count(text, "head_dim") or (128 if is_qwen else shared_out),
        vocabulary=count(text, "vocab_size"),
        positions=_positions(text),
        rope_scaling=kind if (kind := _rope_kind(scaling)) != "default" else None,
        sliding_window=_sliding_window(text),
        ties_head=config.get("tie_word_embeddings", text.get("tie_word_embeddings")) is True,
        dtype=_text(text, "dtype") or _text(text, "torch_dtype") or _text(config, "torch_dtype"),
        quantization=_text(quantization, "quant_method")
        if isinstance(quantization, dict)
        else None,
        padding_id=_number(text, "pad_token_id"),
        token_types=count(text, "type_vocab_size") or (2 if "BertModel" in architectures else 0),
        attention_bias=text.get("attention_bias") is True,
    )


def count(config: Mapping[str, Any], key: str) -> int | None:
    """Return a value that counts something: a whole number above zero, or None."""
    value = _number(config, key)
    return value if value is not None and value > 0 else None


def _positions(config: Mapping[str, Any]) -> int | None:
    """Return the context that SGLang derives (get_context_length in common.py).

    It reads what transformers made of the file, so `rope_parameters`, the newer name of
    `rope_scaling`, counts as well.
    """
    scaling = _rope_scaling(config)
    factor: Any = scaling.get("factor", 1)
    if "original_max_position_embeddings" in scaling or _rope_kind(scaling) in TRAINED_LENGTH_ROPES:
        factor = 1
    counts = (count(config, key) for key in POSITION_KEYS)
    positions = next((number for number in counts if number is not None), None)
    usable = isinstance(factor, int | float) and 0 < factor < LARGEST_FACTOR
    return int(factor * positions) if positions and usable else None


LARGEST_FACTOR = 1e6


def _rope_scaling(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how rotary positions are scaled; empty where they are not."""
    for key in ("rope_scaling", "rope_parameters"):
        scaling = config.get(key)
        if isinstance(scaling, dict) and scaling:
            return scaling
    return {}


def _rope_kind(scaling: Mapping[str, Any]) -> str:
    return str(scaling.get("rope_type") or scaling.get("type") or "default")


def _sliding_window(config: Mapping[str, Any]) -> int | None:
    if config.get("use_sliding_window") is False:
        return None
    return count(config, "sliding_window")


def _number(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    return value if isinstance(value, str) else None
