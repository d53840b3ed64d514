"""Memory that a server on the CPU will take. Pure functions; every size is in bytes."""

from __future__ import annotations

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


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, dtype: str) -> int:
    """Return the KV pool's bytes for one token: a key and a value in every layer."""
    return 2 * layers * kv_heads * head_dim * DTYPE_BYTES[dtype]


def cpu_memory_needed(weights: int, pool_tokens: int, kv_bytes: int) -> int:
    """Return what the whole server takes on a CPU: processes, weights and KV pool."""
    return THREE_PROCESSES + weights + pool_tokens * kv_bytes
