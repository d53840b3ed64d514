"""The shape of a model: what its size in memory follows from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """A transformer that makes embeddings.

    Attributes:
        architecture: Name in config.json, such as Qwen3ForCausalLM.
        parameters: Number of weights in the safetensors files.
        stored_dtype: Type in which nearly all of them are stored, by torch's name, such as
            bfloat16.
        layers: Transformer layers.
        hidden_size: Width of the hidden state, which is the dimension of a full vector.
        intermediate_size: Width of the feed-forward layer.
        attention_heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        vocabulary: Rows of the embedding table.
        positions: Longest context, in tokens.
        separate_head: Whether to count an output head of its own, of the embedding table's
            size: SGLang allocates one where config.json's `tie_word_embeddings` is false,
            though no embedding needs it (srt/models/qwen3.py).
        token_types: Rows of BERT's table of token types; 0 where there is none.
        attention_bias: Whether Qwen3's attention adds a bias to its projections.
    """

    architecture: str
    parameters: int
    stored_dtype: str
    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    separate_head: bool
    token_types: int = 0
    attention_bias: bool = False


QWEN3_ARCHITECTURES = frozenset({"Qwen3ForCausalLM", "Qwen3Model"})
"""SGLang's Qwen3 for embeddings, with and without an output head (srt/models/qwen3.py and
qwen3_embedding.py)."""

NEEDED = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "vocab_size",
    "max_position_embeddings",
)
"""Keys of config.json without which a model has no shape here."""


LARGEST = 2**31
"""No number in a config.json of a model is as large as this."""


def shape_of_config(config: Mapping[str, Any], weight_bytes: int) -> ModelShape | None:
    """Return the shape that a config.json declares, or None where it lacks a part of it.

    What is left out means what it means in transformers (Qwen3Config and BertConfig of
    5.19): heads of 128, 32 KV heads and an output head of its own in a Qwen3, two token
    types in a BERT; in any other, as many KV heads as heads, which share the hidden state.

    Args:
        config: Content of config.json.
        weight_bytes: Size of the weights in the files.
    """
    layers, hidden, inner, heads, rows, positions = (_count(config, key) for key in NEEDED)
    if not (layers and hidden and inner and heads and rows and positions):
        return None
    names = config.get("architectures")
    architecture = str(names[0]) if isinstance(names, list) and names else ""
    is_qwen, is_bert = architecture in QWEN3_ARCHITECTURES, architecture == "BertModel"
    missing = 32 if is_qwen and "num_key_value_heads" not in config else heads
    head_dim = _count(config, "head_dim") or (128 if is_qwen else hidden // heads)
    if not head_dim:
        return None
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return ModelShape(
        architecture=architecture,
        parameters=weight_bytes // (4 if stored == "float32" else 2),
        stored_dtype=stored,
        layers=layers,
        hidden_size=hidden,
        intermediate_size=inner,
        attention_heads=heads,
        kv_heads=_count(config, "num_key_value_heads") or missing,
        head_dim=head_dim,
        vocabulary=rows,
        positions=positions,
        separate_head=architecture == "Qwen3ForCausalLM"
        and config.get("tie_word_embeddings", False) is not True,
        token_types=_count(config, "type_vocab_size") or (2 if is_bert else 0),
        attention_bias=config.get("attention_bias") is True,
    )


def _count(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and 0 < value < LARGEST else None
