"""Shapes of the models that the toolkit brings itself, before their files are here."""

from __future__ import annotations

from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.model.tiny import CONTEXT_LENGTH, HEAD_DIM, VOCABULARY_SIZE, TinyModel

MINILM = ModelShape(
    architecture="BertModel",
    parameters=22_713_728,
    stored_dtype="float32",
    layers=6,
    hidden_size=384,
    intermediate_size=1536,
    attention_heads=12,
    kv_heads=12,
    head_dim=32,
    vocabulary=30522,
    positions=512,
    separate_head=False,
    token_types=2,
)
"""all-MiniLM-L6-v2, by the files that are fetched (config.json, the safetensors header)."""


def tiny_shape(model: TinyModel) -> ModelShape:
    """Return the shape of a tiny model (`model.tiny`), its vocabulary at its largest."""
    hidden, heads = model.hidden_size, model.hidden_size // HEAD_DIM
    layer = 8 * hidden * hidden // 2 * 3  # attention 3 hidden², feed-forward 9 hidden²
    return ModelShape(
        architecture="Qwen3ForCausalLM",
        parameters=VOCABULARY_SIZE * hidden + model.layers * layer,
        stored_dtype="bfloat16",
        layers=model.layers,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        attention_heads=heads,
        kv_heads=heads // 2,
        head_dim=HEAD_DIM,
        vocabulary=VOCABULARY_SIZE,
        positions=CONTEXT_LENGTH,
        separate_head=False,
    )


TINY = tiny_shape(TinyModel())
