"""The Python client: texts in, one float32 array out, in input order."""

from sgl_embed_kit.client.errors import (
    BadAnswerError,
    ConnectionFailedError,
    EmbeddingError,
    RefusedError,
)
from sgl_embed_kit.client.sync import EmbeddingClient

__all__ = [
    "BadAnswerError",
    "ConnectionFailedError",
    "EmbeddingClient",
    "EmbeddingError",
    "RefusedError",
]
