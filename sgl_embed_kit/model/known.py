"""Models whose shape is known without their files, so that a profile can be checked anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml


@dataclass(frozen=True)
class KnownModel:
    """The shape of a Qwen3-Embedding model; its weights are stored in bfloat16.

    Attributes:
        revision: A commit of the repository whose source is public.
        parameters: Number of weights in the repository's safetensors files.
        layers: Transformer layers.
        hidden_size: Width of the hidden state, which is the dimension of a full vector.
        intermediate_size: Width of the feed-forward layer.
        attention_heads: Query heads.
        kv_heads: Key and value heads.
        head_dim: Width of a head.
        vocabulary: Rows of the embedding table.
        positions: `max_position_embeddings` of config.json.
        separate_head: Whether to count an output head of its own, of the embedding table's
            size: SGLang allocates one where config.json's `tie_word_embeddings` is false,
            though no embedding needs it (srt/models/qwen3.py).
    """

    revision: str
    parameters: int
    layers: int
    hidden_size: int
    intermediate_size: int
    attention_heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    separate_head: bool


def known_model(repo: str) -> KnownModel | None:
    """Return what is known of a repository's model, or None."""
    return known_models().get(repo)


@cache
def known_models() -> dict[str, KnownModel]:
    """Return the known models by repository id; the file says where the facts are from."""
    text = resources.files(__package__).joinpath("known_models.yaml").read_text(encoding="utf-8")
    return {name: KnownModel(**facts) for name, facts in yaml.safe_load(text).items()}
