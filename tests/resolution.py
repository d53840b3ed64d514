"""SGLang's own resolution of a command for a GPU that is not here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sgl_embed_kit.model.shape import ModelShape
from tests.real_sglang import sglang

RESOLVE = """
import gc
from types import SimpleNamespace
from sglang.srt import utils
from sglang.srt.arg_groups import memory_hook, pipeline
from sglang.srt.arg_groups.overrides import model_config_of, resolving_view
from sglang.srt.mem_cache import kv_cache_configurator
from sglang.srt.mem_cache.kv_cache_configurator import KVCacheConfigurator
from sglang.srt.model_executor.pool_configurator import DefaultPoolConfigurator
from sglang.srt.runtime_context import get_parallel, override_platform, publish
from sglang.srt.server_args import prepare_server_args


def pool_tokens(args, model, case):
    "What SGLang's own code makes of the memory that is free before and after the weights."
    publish(args, role="scheduler")
    kv_cache_configurator.get_available_gpu_memory = lambda *_, **__: case["free_after"] / 2**30
    no = lambda: False
    runner = SimpleNamespace(
        server_args=args, model_config=model, device="cuda", gpu_id=0,
        kv_cache_dtype=model.dtype, kv_cache_dtype_str="auto", use_mla_backend=False,
        mambaish_config=None, post_capture_kv_active=False, is_draft_worker=False,
        layer_info=SimpleNamespace(
            start_layer=0, end_layer=model.num_hidden_layers,
            num_effective_layers=model.num_hidden_layers,
        ),
        spec_algorithm=SimpleNamespace(is_eagle=no, is_standalone=no, is_dflash_family=no),
    )
    with get_parallel().override(world_group=SimpleNamespace(cpu_group=None)):
        try:
            pool = KVCacheConfigurator._profile_available_bytes(runner, case["free_before"] / 2**30)
        except ValueError as error:
            assert "leave no GPU memory for the KV cache" in str(error)
            return 0
        sizes = DefaultPoolConfigurator(runner).calculate_pool_sizes(
            pool, resolving_view(args).page_size
        )
    return sizes.max_total_num_tokens


# Everything was imported as on a CPU, where it can be; from here on this is a GPU's machine.
utils.is_cuda = lambda: True
gc.freeze()  # SGLang collects garbage at each pool; what was imported is none


def answer(case):
    memory_hook.get_device_memory_capacity = lambda device: float(case["memory_mib"])
    with override_platform(
        is_cuda=True, has_flashinfer=True, is_hopper_with_cuda_12_3=case["hopper"]
    ):
        args = prepare_server_args(case["argv"])
        args.resolve_once()
        view, model = resolving_view(args), model_config_of(args)
        graphs = view.cuda_graph_config
        return {
            "device": view.device,
            "fraction": view.mem_fraction_static,
            "chunk": view.chunked_prefill_size,
            "prefill_backend": graphs.prefill.backend,
            "prefill_graphs": len(graphs.prefill.bs),
            "context_length": model.context_len,
            "pool_tokens": pool_tokens(args, model, case),
        }
"""


@dataclass(frozen=True)
class Resolved:
    """What SGLang would serve with."""

    device: str
    fraction: float
    chunk: int
    prefill_backend: str
    prefill_graphs: int
    context_length: int
    pool_tokens: int


@dataclass(frozen=True)
class Case:
    """A command, as the words after `sglang serve`, and the GPU that it is for.

    Attributes:
        free_before: Bytes free on the GPU before the weights are loaded.
        free_after: Bytes free after it.
    """

    argv: Sequence[str]
    memory_mib: int
    hopper: bool
    free_before: int
    free_after: int


def resolve(cases: Iterable[Case]) -> list[Resolved]:
    """Run SGLang's whole resolution for each case, its GPU memory settings and pool size too.

    SGLang runs in a process of its own and is stock but for what it would ask of a GPU: that
    the platform is CUDA, that it is or is not Hopper, how much memory the card has, and how
    much of it is free.
    """
    with sglang(RESOLVE) as process:
        return [Resolved(**process.ask(asdict(case), in_place=True)) for case in cases]


def write_config(folder: Path, model: ModelShape) -> Path:
    """Write a model folder that holds only the config.json of a known shape."""
    folder.mkdir()
    config = {
        "architectures": [model.architecture],
        "model_type": "qwen3",
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.positions,
        "tie_word_embeddings": not model.separate_head,
        "attention_bias": model.attention_bias,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
