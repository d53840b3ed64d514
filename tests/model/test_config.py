"""config.json as SGLang reads it, compared with SGLang's own derivation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.model.config import Config, read_config
from tests.real_sglang import Sglang, sglang

DERIVE = """
import json, tempfile
from pathlib import Path
from sglang.srt.utils.hf_transformers.common import get_context_length, get_hf_text_config
from transformers import AutoConfig

def answer(config):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        text = get_hf_text_config(AutoConfig.from_pretrained(folder))
    return {
        "positions": get_context_length(text),
        "kv_heads": text.num_key_value_heads,
        "ties_head": text.tie_word_embeddings,
    }
"""

QWEN = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 32,
    "hidden_size": 128,
    "max_position_embeddings": 4096,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rope_theta": 1000000,
    "tie_word_embeddings": True,
    "vocab_size": 1446,
}
ROPES: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 2.0},
    {"type": "linear", "factor": 2.0},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "yarn", "factor": 4.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    },
]


@pytest.fixture(scope="module")
def derivation() -> Iterator[Sglang]:
    with sglang(DERIVE) as process:
        process.ask(QWEN, in_place=True)
        yield process


@pytest.mark.server
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_sequence_length": 100},
        {"model_max_length": 3000},
        *({"rope_scaling": rope} for rope in ROPES),
        *({"rope_parameters": {**rope, "rope_theta": 1e6}} for rope in ROPES),
        {"tie_word_embeddings": False},
        {"tie_word_embeddings": None},
    ],
    ids=json.dumps,
)
def test_it_is_read_as_sglang_reads_it(derivation: Sglang, changes: dict[str, Any]) -> None:
    config = {key: value for key, value in (QWEN | changes).items() if value is not None}
    found = read_config(config)
    assert derivation.ask(config) == {
        "positions": found.positions,
        "kv_heads": found.kv_heads,
        "ties_head": found.ties_head,
    }


def test_what_is_not_said_is_not_known() -> None:
    assert read_config({}) == Config()


@pytest.mark.parametrize("value", ["many", 0, -1, True, 1.5, None, [], {}])
def test_what_is_no_count_is_not_known(value: object) -> None:
    found = read_config({"hidden_size": value, "num_hidden_layers": value, "vocab_size": value})
    assert (found.hidden_size, found.layers, found.vocabulary) == (None, None, None)


def test_heads_without_a_number_of_their_own_are_derived() -> None:
    found = read_config({"hidden_size": 384, "num_attention_heads": 12})
    assert (found.kv_heads, found.head_dim) == (12, 32)


def test_the_language_part_of_a_larger_model_is_what_counts() -> None:
    assert read_config({"hidden_size": 1, "text_config": {"hidden_size": 64}}).hidden_size == 64


def test_a_window_that_is_switched_off_is_none() -> None:
    window = {"sliding_window": 4096}
    assert read_config(window).sliding_window == 4096
    assert read_config({**window, "use_sliding_window": False}).sliding_window is None


@pytest.mark.parametrize("factor", ["much", 1e300, float("inf"), float("nan"), -2, None])
def test_a_factor_that_is_none_gives_no_context(factor: object) -> None:
    scaling = {"rope_type": "linear", "factor": factor}
    found = read_config({"max_position_embeddings": 100, "rope_scaling": scaling})
    assert found.positions is None


def test_the_builder_is_the_tiny_models_shape(tmp_path: Path) -> None:
    from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model

    make_tiny_model(tmp_path / "m", TinyModel())
    written = json.loads((tmp_path / "m" / "config.json").read_text())
    assert {key: written.get(key) for key in QWEN} == QWEN


@pytest.mark.parametrize(
    ("architecture", "left_out", "expected"),
    [
        ("Qwen3ForCausalLM", "head_dim", {"head_dim": 128}),
        ("Qwen3ForCausalLM", "num_key_value_heads", {"kv_heads": 32}),
        ("Qwen3Model", "tie_word_embeddings", {"ties_head": False}),
        ("BertModel", "head_dim", {"head_dim": 32, "token_types": 2}),
        ("BertModel", "num_key_value_heads", {"kv_heads": 4}),
        ("MistralModel", "head_dim", {"head_dim": 32, "token_types": 0}),
    ],
)
def test_what_is_left_out_means_what_it_means_in_transformers(
    architecture: str, left_out: str, expected: dict[str, Any]
) -> None:
    config = {k: v for k, v in QWEN.items() if k != left_out} | {"architectures": [architecture]}
    found = read_config(config)
    assert {key: getattr(found, key) for key in expected} == expected
