"""The arithmetic of memory."""

from sgl_embed_kit.plan.memory import THREE_PROCESSES, cpu_memory_needed, kv_bytes_per_token


def test_qwen3_embedding_06b_takes_112_kib_of_kv_pool_for_a_token() -> None:
    # 28 layers, 8 KV heads of 128, bf16: the facts of the model card's config.
    assert kv_bytes_per_token(28, 8, 128, "bfloat16") == 114_688


def test_minilm_in_float32_takes_what_sglang_logged() -> None:
    # "#tokens: 16384, K size: 0.14 GB, V size: 0.14 GB" on SGLang 0.5.23 (GB there: GiB).
    assert round(16384 * kv_bytes_per_token(6, 12, 32, "float32") / 2**30, 2) == 0.28


def test_the_whole_server_is_processes_weights_and_pool() -> None:
    assert cpu_memory_needed(1000, pool_tokens=10, kv_bytes=7) == THREE_PROCESSES + 1070
