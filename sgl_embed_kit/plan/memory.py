"""Memory that a server will take, on a GPU and on the CPU. Pure functions; sizes in bytes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from sgl_embed_kit.model.shape import ModelShape

MIB = 2**20
GIB = 2**30

THREE_PROCESSES = 3_000_000_000
"""HTTP server, scheduler and detokenizer with SGLang and torch imported, before any
weights: 2.8 GB measured (sum of PSS) on SGLang 0.5.23, CPU, tiny model."""

DTYPE_BYTES = {
    "auto": 2,  # SGLang loads float32 weights as float16, others as they are
    "half": 2,
    "float16": 2,
    "bfloat16": 2,
    "float": 4,
    "float32": 4,
}

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

LARGE_CARD = 60 * GIB
LARGE_CARD_RESERVE = 10 * GIB
"""On a card above the first, SGLang reserves at least the second (same function)."""


@dataclass(frozen=True)
class GpuMemory:
    """What becomes of one GPU's memory, in bytes; the first five add up to the card.

    Attributes:
        driver: What the driver and the CUDA context hold.
        weights: Model weights.
        pool: The KV pool.
        working: Activations and captured graphs, as SGLang estimates them.
        spare: What is left; below zero, the server does not fit.
        pool_tokens: Tokens that the KV pool holds.
    """

    driver: int
    weights: int
    pool: int
    working: int
    spare: int
    pool_tokens: int


def gpu_memory(
    model: ModelShape,
    memory: int,
    *,
    dtype: str,
    fraction: float,
    chunk: int,
    max_running: int | None,
    tensor: int = 1,
) -> GpuMemory:
    """Return what a server makes of each of its GPUs.

    The pool is SGLang's: it takes what is free before the weights are loaded, leaves
    1 - fraction of that alone, and gives the pool what the weights leave of the rest
    (_profile_available_bytes, srt/mem_cache/kv_cache_configurator.py). Tokens are the pool
    over one token's bytes, rounded down (DefaultPoolConfigurator,
    srt/model_executor/pool_configurator.py), at SGLang's default page size of 1.

    Args:
        model: What is served.
        memory: The card's memory in bytes, as NVML reports it.
        dtype: The profile's `model.dtype`.
        fraction: Share of the memory for weights and pool, `--mem-fraction-static`.
        chunk: Tokens of a prefill chunk, `--chunked-prefill-size`.
        max_running: Limit of requests at a time, or None.
        tensor: GPUs that share each layer.
    """
    driver = driver_bytes(memory)
    weights = weight_bytes(model, dtype, tensor)
    pool = max(int((memory - driver) * fraction) - weights, 0)
    working = working_bytes(memory, chunk, max_running, tensor)
    # With fewer heads than GPUs, each keeps one (get_num_kv_heads, srt/configs/model_config.py).
    kv_heads = max(model.kv_heads // tensor, 1)
    token = kv_bytes_per_token(model.layers, kv_heads, model.head_dim, dtype)
    spare = memory - driver - weights - pool - working
    return GpuMemory(driver, weights, pool, working, spare, pool // token)


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


def weight_bytes(model: ModelShape, dtype: str, tensor: int = 1) -> int:
    """Return the weights on each GPU: every parameter, and the head if there is one of its own.

    Tensor parallelism splits the layers and the embedding table; the norms, which each GPU
    holds whole, are too small to count.
    """
    head = model.vocabulary * model.hidden_size if model.separate_head else 0
    return (model.parameters + head) * DTYPE_BYTES[dtype] // tensor


def working_bytes(memory: int, chunk: int, max_running: int | None, tensor: int = 1) -> int:
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
    reserve = 512 + 1.5 * tokens + 128 * tensor + 2 * decode + 8 * prefill_graphs(chunk)
    floor = LARGE_CARD_RESERVE if memory > LARGE_CARD else 0
    return max(int(reserve * MIB), floor)


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
    return 2 * layers * kv_heads * head_dim * DTYPE_BYTES[dtype]


def cpu_memory_needed(weights: int, pool_tokens: int, kv_bytes: int) -> int:
    """Return what the whole server takes on a CPU: processes, weights and KV pool."""
    return THREE_PROCESSES + weights + pool_tokens * kv_bytes
