"""The shape of a model, from its config.json."""

from __future__ import annotations

from typing import Any

import pytest

from sgl_embed_kit.model.known import known_models
from sgl_embed_kit.model.shape import NEEDED, shape_of_config

QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 28,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151669,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def test_the_config_of_a_known_model_gives_its_shape() -> None:
    known = known_models()["Qwen/Qwen3-Embedding-0.6B"].shape
    assert shape_of_config(QWEN, 2 * known.parameters) == known


@pytest.mark.parametrize("key", NEEDED)
@pytest.mark.parametrize("value", [None, 0, -1, "8", 2**31, 1.5, []])
def test_without_a_number_that_is_needed_there_is_no_shape(key: str, value: object) -> None:
    assert shape_of_config({**QWEN, key: value}, 1) is None


@pytest.mark.parametrize(
    ("architecture", "left_out", "expected"),
    [
        ("Qwen3ForCausalLM", "head_dim", {"head_dim": 128}),
        ("Qwen3ForCausalLM", "num_key_value_heads", {"kv_heads": 32}),
        ("Qwen3ForCausalLM", "tie_word_embeddings", {"separate_head": True}),
        ("Qwen3Model", "tie_word_embeddings", {"separate_head": False}),
        ("BertModel", "head_dim", {"head_dim": 64, "token_types": 2, "separate_head": False}),
        ("BertModel", "num_key_value_heads", {"kv_heads": 16}),
        ("BertModel", "torch_dtype", {"stored_dtype": "float32", "parameters": 1000}),
    ],
)
def test_what_is_left_out_means_what_it_means_in_transformers(
    architecture: str, left_out: str, expected: dict[str, Any]
) -> None:
    config = {k: v for k, v in QWEN.items() if k != left_out} | {"architectures": [architecture]}
    shape = shape_of_config(config, 4000)
    assert shape is not None
    assert {key: getattr(shape, key) for key in expected} == expected


@pytest.mark.parametrize(
    "hostile",
    [
        {"architectures": 7},
        {"architectures": []},
        {"head_dim": -5, "architectures": ["X"], "hidden_size": 3},
        {"num_key_value_heads": "many"},
        {"type_vocab_size": {}},
        {"dtype": ["x"]},
    ],
)
def test_nonsense_gives_a_shape_or_none_but_no_error(hostile: dict[str, Any]) -> None:
    shape = shape_of_config({**QWEN, **hostile}, 1)
    assert shape is None or shape.head_dim > 0
