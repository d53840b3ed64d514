"""Memory that a server will take, on a GPU and on the CPU. Pure functions; sizes in bytes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.plan.weights import DTYPE_BYTES, weight_bytes

MIB = 2**20
GIB = 2**30

THREE_PROCESSES = 3_000_000_000
"""HTTP server, scheduler and detokenizer with SGLang and torch imported, before any
weights: 2.8 GB measured (sum of PSS) on SGLang 0.5.23, CPU, tiny model."""

TAKEN_AT_LOAD = 1_700_000_000
"""What of that is gone from the machine's available memory when SGLang reads it, before it
loads weights: 1.5 to 1.9 GB measured, with children forked and spawned (0.5.23, CPU). The
libraries' files count among the processes, and stay available."""

KV_DTYPE_BYTES = {**DTYPE_BYTES, "fp8_e5m2": 1, "fp8_e4m3": 1}
"""Bytes of a number in the KV pool: `--kv-cache-dtype`, or the model's type where it is auto."""

CONTEXT_BYTES = 512 * MIB
"""A CUDA context with torch's and SGLang's kernels: an estimate, of which `driver_bytes` has
the evidence."""

ATTENTION_WORKSPACE = 512 * MIB
"""Workspace of the flashinfer kernels for a Qwen3; 384 MiB for others, none for FA3
(srt/layers/attention/flashinfer_backend.py, SGLANG_FLASHINFER_WORKSPACE_SIZE)."""

MAX_PREFILL_TOKENS = 16384
"""SGLang's default of `--max-prefill-tokens`: what a prefill holds where it is not chunked."""

CARD_SIZES_MIB = (20 * 1024, 35 * 1024, 60 * 1024, 90 * 1024, 160 * 1024)
DEFAULT_CHUNKS = (2048, 4096, 4096, 8192, 8192, 16384)
DECODE_BATCHES = (8, 48, 32, 256, 256, 512)
DECODE_BATCHES_FROM_FOUR_GPUS = (8, 160, 160, 512, 512, 512)
"""What SGLang 0.5.23 chooses for a card below each size, and for one above them all: tokens
of a prefill chunk, and the largest decode batch to capture, which is another where four GPUs
or more share a layer (handle_gpu_memory_settings, srt/arg_groups/memory_hook.py)."""

FOUR_GPUS = 4
CPU_DECODE_BATCH = 32

LARGE_CARD = 60 * GIB
LARGE_CARD_RESERVE = 10 * GIB
"""On a card above the first, SGLang reserves at least the second (same function)."""


@dataclass(frozen=True)
class GpuMemory:
    """What becomes of one GPU's memory, in bytes; the first six add up to the card.

    Attributes:
        others: What other programs hold now; 0 where that is not known.
        driver: What the driver and the CUDA context hold.
        weights: Model weights.
        pool: The KV pool.
        working: Activations and captured graphs: as SGLang estimates them where it takes
            texts in chunks, else `least_working`.
        spare: What is left; below zero, the server does not fit.
        pool_tokens: Tokens that the KV pool holds.
        least_working: What of the working memory follows from the model's shape.
    """

    others: int
    driver: int
    weights: int
    pool: int
    working: int
    spare: int
    pool_tokens: int
    least_working: int


def gpu_memory(
    model: ModelShape,
    memory: int,
    *,
    dtype: str,
    fraction: float,
    chunk: int,
    max_running: int | None,
    tensor: int = 1,
    free: int | None = None,
    max_tokens: int | None = None,
    page: int = 1,
    kv_dtype: str = "auto",
    context: int | None = None,
) -> GpuMemory:
    """Return what a server makes of each of its GPUs.

    The pool is SGLang's: it takes what is free before the weights are loaded, leaves
    1 - fraction of that alone, and gives the pool what the weights leave of the rest
    (_profile_available_bytes, srt/mem_cache/kv_cache_configurator.py). Its tokens are
    `pool_tokens`.

    Args:
        model: What is served.
        memory: The card's memory in bytes, as NVML reports it.
        dtype: The profile's `model.dtype`.
        fraction: Share of the memory for weights and pool, `--mem-fraction-static`.
        chunk: Tokens of a prefill chunk, `--chunked-prefill-size`; -1 takes texts whole.
        max_running: Limit of requests at a time, or None.
        tensor: GPUs that share each layer.
        free: Bytes free on the card now, as NVML reports them; None where it is not here.
        max_tokens: Limit of the pool's tokens, `--max-total-tokens`, or None.
        page: Tokens of a page of the pool, `--page-size`.
        kv_dtype: `--kv-cache-dtype`.
        context: Longest text, `--context-length`; the model's positions where it is None.
    """
    context = context or model.positions
    ours = free_for_server(memory, free)
    driver = driver_bytes(memory)
    weights = weight_bytes(model, dtype, tensor)
    budget = max(int(ours * fraction) - weights, 0)
    token = token_bytes(model, dtype, tensor, kv_dtype)
    tokens = pool_tokens(budget, token, max_tokens, page)
    # Below the limit, what one token's bytes do not divide stays unused; it is the pool's.
    pool = budget if max_tokens is None or tokens < max_tokens // page * page else tokens * token
    running = running_requests(tokens, context, max_running)
    least = least_working_bytes(model, chunk, dtype, tensor, context, running, max_tokens)
    estimated = working_bytes(memory, chunk, max_running, tensor, max_tokens)
    working = estimated if chunk > 0 else least
    return GpuMemory(
        others=memory - driver - ours,
        driver=driver,
        weights=weights,
        pool=pool,
        working=working,
        spare=ours - weights - pool - working,
        pool_tokens=tokens,
        least_working=least,
    )


def free_for_server(memory: int, free: int | None) -> int:
    """Return what SGLang finds free on a card before it loads weights.

    That is the card less `driver_bytes`, and no more than is free now less the server's
    own CUDA context.
    """
    ours = memory - driver_bytes(memory)
    return ours if free is None else max(min(ours, free - CONTEXT_BYTES), 0)


def token_bytes(model: ModelShape, dtype: str, tensor: int = 1, kv_dtype: str = "auto") -> int:
    """Return the KV pool's bytes for one token on each GPU.

    With fewer KV heads than GPUs, each keeps one (get_num_kv_heads,
    srt/configs/model_config.py).
    """
    heads = max(model.kv_heads // tensor, 1)
    return kv_bytes_per_token(
        model.layers, heads, model.head_dim, dtype if kv_dtype == "auto" else kv_dtype
    )


def pool_tokens(budget: int, token: int, max_tokens: int | None, page: int) -> int:
    """Return the tokens of a KV pool: what the bytes hold, at most the limit, in whole pages.

    As DefaultPoolConfigurator and _apply_token_constraints do it
    (srt/model_executor/pool_configurator.py, srt/mem_cache/kv_cache_configurator.py).
    """
    tokens = budget // token
    if max_tokens is not None:
        tokens = min(tokens, max_tokens)
    return tokens // page * page


def running_requests(tokens: int, context: int, max_running: int | None) -> int:
    """Return how many texts SGLang works on at a time, at most.

    The limit, or 512 for each full context in the pool, but 2048 to 4096; and never more
    than half the pool's tokens (resolve_max_num_reqs, srt/mem_cache/kv_cache_configurator.py).
    """
    limit = max_running or max(min(int(tokens / context * 512), 4096), 2048)
    return min(limit, tokens // 2)


def driver_bytes(memory: int) -> int:
    """Return what is gone of a card before SGLang loads weights: 1 GiB and 0.5 % of it.

    An estimate on the high side. The driver holds 0.3 to 0.75 GiB: torch sees 14.56 GiB of a
    T4's 15.00 (Zheng-Chong/CatVTON issue 133), 22.18 of an A10's 22.49 (OpenBMB/MiniCPM-V
    issue 640), 79.25 of an A100's 80.00 (HiDream-ai/VAREdit issue 6). With SGLang's CUDA
    context, 139.3 of an H200's 140.4 were free (sgl-project/sglang pull request 11716, whose
    log shows 137.3 after NCCL had taken 2.0 for eight GPUs). A server's own log says it:
    "Load weight begin. avail mem=".
    """
    return GIB + memory // 200


def working_bytes(
    memory: int,
    chunk: int,
    max_running: int | None,
    tensor: int = 1,
    max_tokens: int | None = None,
) -> int:
    """Return what SGLang 0.5.23 would keep free on a card for everything but weights and pool.

    In MiB: 512, 1.5 for each token of a prefill chunk (of at least 2048), 128 for each GPU,
    2 for each request of the largest decode batch, 8 for each prefill graph; at least 10 GiB
    on a card above 60 GiB (handle_gpu_memory_settings and reserve_for_graph_mb,
    srt/arg_groups/memory_hook.py). It is SGLang's rule of thumb for models of any size, and
    counts decode graphs, which an embedding server never captures
    (srt/model_executor/model_runner_components/cuda_graph_setup.py).
    """
    batches = DECODE_BATCHES if tensor < FOUR_GPUS else DECODE_BATCHES_FROM_FOUR_GPUS
    decode = batches[bisect_right(CARD_SIZES_MIB, memory // MIB)]
    if max_running is not None:
        decode = min(decode, max_running)
    tokens = max(chunk if chunk > 0 else MAX_PREFILL_TOKENS, 2048)
    longest_graph = chunk if max_tokens is None else min(chunk, max_tokens)
    reserve = 512 + 1.5 * tokens + 128 * tensor + 2 * decode + 8 * prefill_graphs(longest_graph)
    return max(int(reserve * MIB), _floor(memory))


def cpu_working_bytes(memory: int, chunk: int, tensor: int = 1) -> int:
    """Return what SGLang 0.5.23 would keep free of a machine's memory on a CPU.

    As on a GPU, but without prefill graphs and with 32 for the largest decode batch, the
    default of `--torch-compile-max-bs` (same function).
    """
    tokens = max(chunk if chunk > 0 else MAX_PREFILL_TOKENS, 2048)
    reserve = 512 + 1.5 * tokens + 128 * tensor + 2 * CPU_DECODE_BATCH
    return max(int(reserve * MIB), _floor(memory))


def _floor(memory: int) -> int:
    return LARGE_CARD_RESERVE if memory > LARGE_CARD else 0


def least_working_bytes(
    model: ModelShape,
    chunk: int,
    dtype: str,
    tensor: int,
    context: int,
    running: int,
    max_tokens: int | None,
) -> int:
    """Return the working memory on a GPU that follows from the model's shape.

    Activations, the attention kernels' workspace, 8 MiB for each prefill graph (SGLang's own
    figure), and the table of the running requests: a row of four bytes a token for each, one
    row more, and four tokens more (ReqToTokenPool in srt/mem_cache/memory_pool.py,
    get_req_to_token_extra_context_len in srt/mem_cache/allocation_sizing.py).
    """
    longest_graph = chunk if max_tokens is None else min(chunk, max_tokens)
    return (
        activation_bytes(model, batch_tokens(chunk, context), dtype, tensor)
        + ATTENTION_WORKSPACE
        + 8 * MIB * prefill_graphs(longest_graph)
        + 4 * (running + 1) * (context + 4)
    )


def batch_tokens(chunk: int, context: int) -> int:
    """Return the tokens of the largest prefill batch: a chunk, or whole texts.

    Without chunks it is `--max-prefill-tokens` and at least one full text (PrefillAdder,
    srt/managers/schedule_policy.py).
    """
    return chunk if chunk > 0 else max(MAX_PREFILL_TOKENS, context)


def activation_bytes(model: ModelShape, tokens: int, dtype: str, tensor: int = 1) -> int:
    """Return what the tensors between the weights take at the widest place of a layer.

    For each token, hidden state and residual; besides, in the feed-forward layer the product
    of gate and up and its activation (three intermediate widths), or in attention the
    queries, keys and values before and after their norms, and the output (Qwen3MLP and
    Qwen3Attention, srt/models; a BERT's feed-forward is narrower).
    """
    heads = model.attention_heads // tensor
    kv_heads = max(model.kv_heads // tensor, 1)
    attention = (2 * (heads + 2 * kv_heads) + heads) * model.head_dim
    feed_forward = 3 * model.intermediate_size // tensor
    return tokens * (2 * model.hidden_size + max(attention, feed_forward)) * DTYPE_BYTES[dtype]


def default_fraction(memory: int, working: int) -> float:
    """Return the `--mem-fraction-static` that SGLang chooses by itself.

    What it keeps free, as `working_bytes` says, and no more: the driver's share and
    everything unforeseen come out of the same memory.
    """
    return round((memory - working) / memory, 3)


def default_chunk(memory: int) -> int:
    """Return the `--chunked-prefill-size` that SGLang chooses by itself for a card."""
    return DEFAULT_CHUNKS[bisect_right(CARD_SIZES_MIB, memory // MIB)]


def prefill_graphs(chunk: int) -> int:
    """Return how many prefill graphs SGLang captures, one for each of these token counts.

    They are generate_prefill_cuda_graph_batch_sizes of srt/arg_groups/cuda_graph_hook.py.
    """
    ranges = (
        range(4, 33, 4),
        range(48, 257, 16),
        range(288, 513, 32),
        range(576, 1025, 64),
        range(1280, 4097, 256),
        range(4608, chunk + 1, 512),
    )
    return sum(tokens <= chunk for steps in ranges for tokens in steps)


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, dtype: str) -> int:
    """Return the KV pool's bytes for one token: a key and a value in every layer."""
    return 2 * layers * kv_heads * head_dim * KV_DTYPE_BYTES[dtype]
