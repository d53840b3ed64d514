"""The arithmetic of memory."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgl_embed_kit.machine.gpus import known_gpus
from sgl_embed_kit.model.known import known_models
from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.plan.memory import (
    MIB,
    GpuMemory,
    activation_bytes,
    batch_tokens,
    cpu_working_bytes,
    default_chunk,
    default_fraction,
    free_for_server,
    gpu_memory,
    kv_bytes_per_token,
    pool_tokens,
    prefill_graphs,
    token_bytes,
    working_bytes,
)
from tests.conftest import cpu_argv
from tests.real_sglang import Sglang, sglang
from tests.resolution import Case, resolve, write_config

SMALL, MIDDLE, LARGE = (
    known_models()[f"Qwen/Qwen3-Embedding-{size}"].shape for size in ("0.6B", "4B", "8B")
)
A10 = known_gpus()["A10"].memory


def on_an_a10(
    *, model: ModelShape = SMALL, fraction: float = 0.6, chunk: int = 4096, tensor: int = 1
) -> GpuMemory:
    return gpu_memory(
        model, A10, dtype="auto", fraction=fraction, chunk=chunk, max_running=256, tensor=tensor
    )


def test_qwen3_embedding_06b_takes_112_kib_of_kv_pool_for_a_token() -> None:
    # 28 layers, 8 KV heads of 128, bf16: the facts of the model card's config.
    assert kv_bytes_per_token(28, 8, 128, "bfloat16") == 114_688


def test_minilm_in_float32_takes_what_sglang_logged() -> None:
    # "#tokens: 16384, K size: 0.14 GB, V size: 0.14 GB" on SGLang 0.5.23 (GB there: GiB).
    assert round(16384 * kv_bytes_per_token(6, 12, 32, "float32") / 2**30, 2) == 0.28


def test_the_parts_add_up_to_the_card() -> None:
    found = on_an_a10()
    parts = (found.others, found.driver, found.weights, found.pool, found.working, found.spare)
    assert sum(parts) == A10
    assert all(part > 0 for part in parts[1:])


def test_the_pool_is_what_the_weights_leave_of_the_fraction() -> None:
    found = on_an_a10(fraction=0.5)
    assert found.pool + found.weights == (A10 - found.driver) // 2
    assert found.pool_tokens == found.pool // 114_688


def test_weights_larger_than_the_fraction_leave_no_pool() -> None:
    found = on_an_a10(model=LARGE, fraction=0.5)
    assert (found.pool, found.pool_tokens) == (0, 0)
    assert found.spare < 0


def test_two_gpus_that_share_each_layer_hold_more_tokens() -> None:
    alone, shared = on_an_a10(model=MIDDLE), on_an_a10(model=MIDDLE, tensor=2)
    assert shared.weights == pytest.approx(alone.weights / 2, rel=0.001)
    assert shared.pool_tokens > 2 * alone.pool_tokens


def test_more_gpus_than_kv_heads_do_not_split_a_head() -> None:
    assert on_an_a10(tensor=16).pool_tokens < 1.2 * on_an_a10(tensor=8).pool_tokens


def test_a_longer_chunk_needs_more_working_memory_and_more_graphs() -> None:
    assert prefill_graphs(-1) == 0
    assert prefill_graphs(2048) < prefill_graphs(4096) < prefill_graphs(8192)
    assert on_an_a10(chunk=8192).spare < on_an_a10(chunk=4096).spare


def test_a_pool_is_limited_in_tokens_and_whole_pages() -> None:
    assert pool_tokens(1000, 10, None, 1) == 100
    assert pool_tokens(1000, 10, 50, 1) == 50
    assert pool_tokens(1000, 10, None, 16) == 96
    assert pool_tokens(1000, 10, 50, 16) == 48


def test_a_kv_pool_in_eight_bits_takes_half_for_a_token() -> None:
    assert 2 * token_bytes(SMALL, "auto", kv_dtype="fp8_e5m2") == token_bytes(SMALL, "auto")
    assert token_bytes(SMALL, "auto", tensor=16) == token_bytes(SMALL, "auto", tensor=8)


def test_activations_of_a_token_are_those_of_the_widest_place() -> None:
    # 0.6B: hidden state and residual of 1024, three times 3072, two bytes each; attention
    # has 2 x (16 + 16) + 16 heads of 128, which is wider.
    assert activation_bytes(SMALL, 1, "auto") == 2 * (2 * 1024 + (2 * 32 + 16) * 128)
    assert activation_bytes(LARGE, 1, "auto") == 2 * (2 * 4096 + 3 * 12288)
    assert activation_bytes(SMALL, 7, "float32") == 14 * activation_bytes(SMALL, 1, "auto")


def test_a_batch_is_a_chunk_or_whole_texts() -> None:
    assert batch_tokens(2048, 32768) == 2048
    assert batch_tokens(-1, 512) == 16384
    assert batch_tokens(-1, 32768) == 32768


def test_the_driver_takes_what_others_do_not() -> None:
    assert free_for_server(A10, None) == free_for_server(A10, A10 - 600 * MIB)
    assert free_for_server(A10, 10 * 2**30) == 10 * 2**30 - 512 * MIB
    assert free_for_server(A10, 0) == 0


CARDS_MIB = [gpu.memory_mib for gpu in known_gpus().values()] + [180 * 1024]
"""The known ones, and one of a size of which none is known."""
CHUNKS = (None, 1024, 2048, 8192, -1)
RUNNING = (None, 4, 256)
SHARING = (1, 2, 16)


@pytest.mark.server
def test_on_every_card_sglangs_own_code_comes_to_the_same_numbers(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "model", SMALL)
    expected, cases = [], []
    for mib, chunk, running, tensor in itertools.product(CARDS_MIB, CHUNKS, RUNNING, SHARING):
        memory = mib * MIB
        tokens = default_chunk(memory) if chunk is None else chunk
        fraction = default_fraction(memory, working_bytes(memory, tokens, running, tensor))
        planned = gpu_memory(
            SMALL,
            memory,
            dtype="auto",
            fraction=fraction,
            chunk=tokens,
            max_running=running,
            tensor=tensor,
        )
        expected.append((tokens, prefill_graphs(tokens), fraction, planned.pool_tokens))
        argv = ["--model-path", str(folder), "--is-embedding", "--device", "cuda"]
        argv += [] if chunk is None else ["--chunked-prefill-size", str(chunk)]
        argv += [] if running is None else ["--max-running-requests", str(running)]
        argv += ["--tp-size", str(tensor)]
        free = memory - planned.driver
        cases.append(Case(argv, mib, False, free, free - planned.weights))
    for found, (tokens, graphs, fraction, pool) in zip(resolve(cases), expected, strict=True):
        assert (found.chunk, found.prefill_graphs, found.fraction) == (tokens, graphs, fraction)
        assert found.pool_tokens == pytest.approx(pool, abs=1)  # SGLang counts in GiB, rounded


@pytest.mark.server
def test_on_every_size_of_ram_sglangs_own_code_comes_to_the_same_fraction(
    sglang_resolver_of_ram: Sglang, tiny_folder: Path
) -> None:
    for mib, chunk in itertools.product((8000, 24000, 64000, 200_000), (None, 1024, 8192)):
        tokens = default_chunk(mib * MIB) if chunk is None else chunk
        argv = cpu_argv(tiny_folder)
        argv += [] if chunk is None else ["--chunked-prefill-size", str(chunk)]
        found = sglang_resolver_of_ram.ask({"argv": argv, "mib": mib}, in_place=True)
        planned = default_fraction(mib * MIB, cpu_working_bytes(mib * MIB, tokens))
        assert (found["chunk"], found["fraction"]) == (tokens, planned)


@pytest.mark.server
def test_a_limited_pool_needs_fewer_graphs_as_in_sglangs_own_code(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "model", SMALL)
    tokens, limit = default_chunk(A10), 1024
    fraction = default_fraction(A10, working_bytes(A10, tokens, None, max_tokens=limit))
    argv = ["--model-path", str(folder), "--is-embedding", "--device", "cuda"]
    argv += ["--max-total-tokens", str(limit)]
    (found,) = resolve([Case(argv, A10 // MIB, False, A10, A10 - 2**30)])
    assert (found.fraction, found.prefill_graphs) == (fraction, prefill_graphs(limit))


RAM = """
from sglang.srt.arg_groups import memory_hook
from sglang.srt.arg_groups.overrides import resolving_view
from sglang.srt.server_args import prepare_server_args


def answer(case):
    memory_hook.get_device_memory_capacity = lambda device: float(case["mib"])
    args = prepare_server_args(case["argv"])
    args.resolve_once()
    view = resolving_view(args)
    return {"fraction": view.mem_fraction_static, "chunk": view.chunked_prefill_size}
"""


@pytest.fixture(scope="module")
def sglang_resolver_of_ram() -> Iterator[Sglang]:
    with sglang(RAM) as process:
        yield process
