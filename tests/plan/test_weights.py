"""Weights on the device: counted here, and by SGLang's own classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sgl_embed_kit.model.folder import read_folder
from sgl_embed_kit.model.known import known_models
from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.plan.shapes import MINILM, TINY, tiny_shape
from sgl_embed_kit.plan.weights import is_exact, padded_rows, weight_bytes
from tests.conftest import Launched
from tests.real_sglang import Sglang, sglang
from tests.resolution import write_config

SMALL, MIDDLE, LARGE = (
    known_models()[f"Qwen/Qwen3-Embedding-{size}"].shape for size in ("0.6B", "4B", "8B")
)
GIB = 2**30


def test_weights_are_the_parameters_and_a_head_where_it_is_not_the_embedding_table() -> None:
    # 15 rows are added to the table of 151665, and to the head, which the files lack.
    padding = (padded_rows(LARGE.vocabulary) - LARGE.vocabulary) * LARGE.hidden_size
    head = padded_rows(LARGE.vocabulary) * LARGE.hidden_size
    assert weight_bytes(LARGE, "bfloat16") == 2 * (LARGE.parameters + padding + head)
    assert round(weight_bytes(SMALL, "auto") / GIB, 2) == 1.11


def test_float32_weighs_twice_as_much() -> None:
    assert weight_bytes(MIDDLE, "float32") == 2 * weight_bytes(MIDDLE, "auto")


def test_two_gpus_share_all_but_the_norms() -> None:
    norms = MIDDLE.layers * (2 * MIDDLE.hidden_size + 2 * MIDDLE.head_dim) + MIDDLE.hidden_size
    alone, shared = weight_bytes(MIDDLE, "auto"), weight_bytes(MIDDLE, "auto", tensor=2)
    assert shared == (alone - 2 * norms) // 2 + 2 * norms


def test_a_table_is_padded_to_64_rows_for_each_gpu_that_cannot_share_it() -> None:
    assert [padded_rows(rows) for rows in (1, 64, 65)] == [64, 64, 128]
    assert padded_rows(151665, tensor=4) == 151680  # 2370 x 64, which four can share
    assert padded_rows(65, tensor=3) == 192


def test_another_architecture_is_estimated_and_says_so() -> None:
    other = replace(SMALL, architecture="XLMRobertaModel", separate_head=True)
    assert not is_exact(other)
    head = other.vocabulary * other.hidden_size
    assert weight_bytes(other, "auto") == 2 * (other.parameters + head)


def test_the_tiny_models_shape_is_known_before_it_is_made(tiny_folder: Path) -> None:
    assert read_folder(tiny_folder).shape == TINY


@pytest.mark.server
def test_the_demo_models_shape_is_known_before_it_is_fetched(minilm: Launched) -> None:
    assert minilm.model == "all-minilm-l6-v2"
    folder = locate("demo:all-minilm-l6-v2").folder
    assert folder is not None
    made = read_folder(folder).shape
    assert made is not None
    assert replace(made, parameters=MINILM.parameters) == MINILM
    assert made.parameters == pytest.approx(MINILM.parameters, rel=0.001)  # position_ids


BUILD = """
import torch
from types import SimpleNamespace
from sglang.srt.arg_groups.overrides import model_config_of
from sglang.srt.model_loader.utils import get_model_architecture, set_default_torch_dtype
from sglang.srt.runtime_context import get_parallel, publish
from sglang.srt.server_args import prepare_server_args


def answer(case):
    "The bytes of the parameters of SGLang's model, on the meta device: nothing is allocated."
    args = prepare_server_args(case["argv"])
    args.resolve_once()
    publish(args, role="scheduler")
    config, tensor = model_config_of(args), case["tensor"]
    alone, shared = (
        SimpleNamespace(world_size=size, rank_in_group=0, is_first_rank=True, is_last_rank=True,
                        cpu_group=None, device_group=None)
        for size in (1, tensor)
    )
    with get_parallel().override(
        tp_size=tensor, attn_tp_size=tensor, moe_tp_size=tensor, pp_rank=0, tp_rank=0,
        attn_tp_rank=0, attn_dp_rank=0, attn_cp_rank=0, pp_group=alone, tp_group=shared,
        attn_tp_group=shared, moe_tp_group=shared,
    ):
        model_class, _ = get_model_architecture(config)
        with set_default_torch_dtype(config.dtype), torch.device("meta"):
            model = model_class(config=config.hf_config)
    sizes = [p.numel() * p.element_size() for p in model.parameters()]
    return {"class": model_class.__name__, "bytes": sum(sizes)}
"""


@pytest.fixture(scope="module")
def builder() -> Iterator[Sglang]:
    with sglang(BUILD) as process:
        yield process


def built_bytes(builder: Sglang, folder: Path, architecture: str, dtype: str, tensor: int) -> int:
    argv = ["--model-path", str(folder), "--is-embedding", "--device", "cpu", "--dtype", dtype]
    found = builder.ask({"argv": argv, "tensor": tensor}, in_place=True)
    assert found["class"] == architecture
    size: int = found["bytes"]
    return size


QWENS: dict[str, ModelShape] = {
    "0.6B": SMALL,
    "0.6B untied": replace(SMALL, separate_head=True),
    "4B": MIDDLE,
    "8B": LARGE,
    "8B tied": replace(LARGE, separate_head=False),
    "with biases": replace(SMALL, attention_bias=True),
    "without a head": replace(SMALL, architecture="Qwen3Model"),
    "tiny": TINY,
    "wider": tiny_shape(TinyModel(hidden_size=256, layers=5)),
}


@pytest.mark.server
@pytest.mark.parametrize("name", QWENS)
def test_a_qwen3_weighs_what_sglangs_own_class_allocates(
    builder: Sglang, tmp_path: Path, name: str
) -> None:
    shape = QWENS[name]
    folder = write_config(tmp_path / "model", shape)
    for dtype in ("auto", "float32"):
        for tensor in (1, 2):
            found = built_bytes(builder, folder, shape.architecture, dtype, tensor)
            assert weight_bytes(shape, dtype, tensor) == found


@pytest.mark.server
def test_with_fewer_kv_heads_than_gpus_each_holds_one_as_in_sglang(
    builder: Sglang, tmp_path: Path
) -> None:
    folder = write_config(tmp_path / "model", SMALL)
    found = built_bytes(builder, folder, SMALL.architecture, "auto", 16)
    assert weight_bytes(SMALL, "auto", 16) == found


@pytest.mark.server
@pytest.mark.parametrize("positions", [512, 500])
def test_a_bert_weighs_what_sglangs_own_class_allocates(
    builder: Sglang, tmp_path: Path, positions: int
) -> None:
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": MINILM.hidden_size,
        "intermediate_size": MINILM.intermediate_size,
        "num_hidden_layers": MINILM.layers,
        "num_attention_heads": MINILM.attention_heads,
        "vocab_size": MINILM.vocabulary,
        "max_position_embeddings": positions,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "layer_norm_eps": 1e-12,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shape = replace(MINILM, positions=positions)
    for dtype in ("auto", "float32"):
        for tensor in (1, 2, 3):
            found = built_bytes(builder, tmp_path, "BertModel", dtype, tensor)
            assert weight_bytes(shape, dtype, tensor) == found


@pytest.mark.server
def test_a_made_models_weights_are_what_sglangs_own_class_allocates(
    builder: Sglang, tmp_path: Path
) -> None:
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=192, layers=3))
    shape = read_folder(tmp_path / "m").shape
    assert shape is not None
    found = built_bytes(builder, tmp_path / "m", "Qwen3ForCausalLM", "auto", 1)
    assert weight_bytes(shape, "auto") == found
