"""The shape of a model: what its size in memory follows from."""

from __future__ import annotations

from dataclasses import dataclass


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
