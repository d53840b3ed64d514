"""Weights on the device, exactly as SGLang allocates them. Pure functions; sizes in bytes."""

from __future__ import annotations

from sgl_embed_kit.model.shape import QWEN3_ARCHITECTURES, ModelShape

DTYPE_BYTES = {
    "auto": 2,  # SGLang loads float32 weights as float16, others as they are
    "half": 2,
    "float16": 2,
    "bfloat16": 2,
    "float": 4,
    "float32": 4,
}

ROWS = 64
"""Rows of a table are padded to a multiple of this (DEFAULT_VOCAB_PADDING_SIZE,
srt/layers/vocab_parallel_embedding.py)."""


def weight_bytes(model: ModelShape, dtype: str, tensor: int = 1) -> int:
    """Return the bytes of all parameters on each GPU.

    Exact for Qwen3 (srt/models/qwen3.py, qwen3_embedding.py) and BERT (srt/models/bert.py);
    for others, see `is_exact`, the weights in the files and a head, shared out evenly.

    Args:
        model: What is served.
        dtype: The profile's `model.dtype`.
        tensor: GPUs that share each layer.
    """
    size = DTYPE_BYTES[dtype]
    if model.architecture in QWEN3_ARCHITECTURES:
        return _qwen3_parameters(model, tensor) * size
    if model.architecture == "BertModel":
        return _bert_parameters(model, tensor) * size
    head = model.vocabulary * model.hidden_size if model.separate_head else 0
    return (model.parameters + head) * size // tensor


def is_exact(model: ModelShape) -> bool:
    """Say whether `weight_bytes` follows SGLang's own class for the model."""
    return model.architecture in {*QWEN3_ARCHITECTURES, "BertModel"}


def padded_rows(rows: int, tensor: int = 1) -> int:
    """Return the rows of an embedding table, or of a head, that all GPUs hold together.

    They are a multiple of 64, or of 64 for each GPU where that many cannot be shared out
    (VocabParallelEmbedding, srt/layers/vocab_parallel_embedding.py).
    """
    padded = -(-rows // ROWS) * ROWS
    if padded % tensor == 0:
        return padded
    step = ROWS * tensor
    return -(-rows // step) * step


def _table(rows: int, hidden: int, tensor: int) -> int:
    return padded_rows(rows, tensor) // tensor * hidden


def _qwen3_parameters(model: ModelShape, tensor: int) -> int:
    """Count a Qwen3's parameters on each GPU: heads and feed-forward are split, norms are not.

    With fewer KV heads than GPUs, each keeps one (Qwen3Attention, srt/models/qwen3.py).
    """
    hidden, head = model.hidden_size, model.head_dim
    queries = model.attention_heads // tensor * head
    keys_and_values = 2 * max(model.kv_heads // tensor, 1) * head
    attention = hidden * (2 * queries + keys_and_values) + 2 * head  # q_norm and k_norm
    if model.attention_bias:
        attention += queries + keys_and_values + hidden
    feed_forward = 3 * hidden * model.intermediate_size // tensor
    layer = attention + feed_forward + 2 * hidden
    tables = 2 if model.separate_head else 1
    return model.layers * layer + hidden + tables * _table(model.vocabulary, hidden, tensor)


def _bert_parameters(model: ModelShape, tensor: int) -> int:
    """Count a BERT's parameters on each GPU.

    Three tables, each padded, and one number for each position; in each layer the
    projections with their biases and two norms. The biases of what is summed over the GPUs,
    and the norms, are whole on each (BertModel, srt/models/bert.py).
    """
    hidden = model.hidden_size
    tables = (model.vocabulary, model.positions, model.token_types)
    embeddings = sum(_table(rows, hidden, tensor) for rows in tables)
    embeddings += 2 * hidden + model.positions
    inner = model.intermediate_size // tensor
    attention = (hidden + 1) * 3 * hidden // tensor + hidden * hidden // tensor + hidden
    feed_forward = (hidden + 1) * inner + inner * hidden + hidden
    return embeddings + model.layers * (attention + feed_forward + 4 * hidden)
