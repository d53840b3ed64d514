"""Shapes of the models that the toolkit brings itself, before their files are here."""

from __future__ import annotations

from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.model.tiny import CONTEXT_LENGTH, HEAD_DIM, TinyModel

TINY_VOCABULARY = 1446
"""Tokens that the tokenizer learns from the text beside model/tiny.py."""

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
    """Return the shape of a tiny model (`model.tiny`)."""
    hidden, heads = model.hidden_size, model.hidden_size // HEAD_DIM
    layer = 12 * hidden * hidden + 2 * hidden + 2 * HEAD_DIM  # 3 of attention, 9 feed-forward
    return ModelShape(
        architecture="Qwen3ForCausalLM",
        parameters=TINY_VOCABULARY * hidden + model.layers * layer + hidden,
        stored_dtype="bfloat16",
        layers=model.layers,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        attention_heads=heads,
        kv_heads=heads // 2,
        head_dim=HEAD_DIM,
        vocabulary=TINY_VOCABULARY,
        positions=CONTEXT_LENGTH,
        separate_head=False,
    )


TINY = tiny_shape(TinyModel())
