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


def shape_of_config(config: Mapping[str, Any], weight_bytes: int) -> ModelShape | None:
    """Return the shape that a config.json declares, or None where it lacks a part of it.

    What is left out means what it means in transformers (Qwen3Config and BertConfig of
    5.19): heads of 128, 32 KV heads and an output head of its own in a Qwen3, two token
    types in a BERT; in any other, as many KV heads as heads, which share the hidden state.

    Args:
        config: Content of config.json.
        weight_bytes: Size of the weights in the files.
    """
    counts = {key: config.get(key) for key in NEEDED}
    if not all(isinstance(count, int) and count > 0 for count in counts.values()):
        return None
    names = config.get("architectures") or [""]
    architecture = str(names[0])
    is_qwen, is_bert = architecture in QWEN3_ARCHITECTURES, architecture == "BertModel"
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads", 32 if is_qwen else None)
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return ModelShape(
        architecture=architecture,
        parameters=weight_bytes // (4 if stored == "float32" else 2),
        stored_dtype=stored,
        layers=config["num_hidden_layers"],
        hidden_size=hidden,
        intermediate_size=config["intermediate_size"],
        attention_heads=heads,
        kv_heads=kv_heads or heads,
        head_dim=config.get("head_dim") or (128 if is_qwen else hidden // heads),
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        separate_head=architecture == "Qwen3ForCausalLM"
        and config.get("tie_word_embeddings", False) is not True,
        token_types=config.get("type_vocab_size", 2 if is_bert else 0),
        attention_bias=config.get("attention_bias") is True,
    )
