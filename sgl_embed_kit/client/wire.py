"""The bytes on the wire: request bodies, and answers decoded into one array."""

from __future__ import annotations

import msgspec
import numpy as np
import pybase64
from numpy.typing import NDArray

from sgl_embed_kit.client.errors import BadAnswerError

_NOT_SO = (msgspec.DecodeError, RecursionError)
"""What msgspec raises for what is not JSON of the form, or nested without end."""


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int


class _Answer(msgspec.Struct):
    data: list[_Item]


class _Model(msgspec.Struct):
    id: str
    root: str = ""


class _Models(msgspec.Struct):
    data: list[_Model]


class _Error(msgspec.Struct):
    """SGLang's flat error, or OpenAI's envelope."""

    message: str = ""
    error: str | _Error | None = None


def encode_request(texts: list[str], model: str) -> bytes:
    """Return the body of a request for the vectors of `texts`, as base64."""
    return msgspec.json.encode({"input": texts, "model": model, "encoding_format": "base64"})


def decode_vectors(body: bytes, count: int) -> NDArray[np.float32]:
    """Return the vectors of an answer as a float32 array (count, dimension), by index.

    Vectors may come as base64 of little-endian float32 or as JSON numbers: SGLang
    before 0.5.18 ignores the encoding that was asked for.

    Raises:
        BadAnswerError: not JSON, a wrong number of vectors, an index missing or twice,
            vectors of different lengths, or a number that is not finite.
    """
    try:
        items = msgspec.json.decode(body, type=_Answer).data
    except _NOT_SO as error:
        raise BadAnswerError("The answer holds no vectors.", why=str(error)) from error
    if sorted(item.index for item in items) != list(range(count)):
        raise BadAnswerError(
            f"The answer has {len(items)} vectors for {count} texts.",
            why=f"Each index from 0 to {count - 1} must come once.",
        )
    vectors = np.empty((0, 0), dtype=np.float32)
    for position, item in enumerate(items):
        vector = _decode_vector(bytes(item.embedding))
        if position == 0:
            vectors = np.empty((count, vector.size), dtype=np.float32)
        if vector.size == 0 or vector.size != vectors.shape[1]:
            raise BadAnswerError(
                "The vectors of one answer differ in length.",
                why=f"{vectors.shape[1]} and {vector.size} numbers.",
            )
        vectors[item.index] = vector
    if not np.isfinite(vectors).all():
        raise BadAnswerError("The answer holds numbers that are not finite (NaN or infinite).")
    return vectors


def decode_model(body: bytes) -> tuple[str, str]:
    """Return the served name and the model's path from an answer of `/v1/models`.

    Raises:
        BadAnswerError: the answer lists no model.
    """
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except _NOT_SO as error:
        raise BadAnswerError("The answer lists no models.", why=str(error)) from error
    if not models:
        raise BadAnswerError("The server serves no model.")
    return models[0].id, models[0].root


def decode_error(body: bytes) -> str:
    """Return the message of an error answer, or the beginning of whatever came."""
    try:
        error = msgspec.json.decode(body, type=_Error)
    except _NOT_SO:
        return body[:200].decode("utf-8", "replace").strip()
    inner = error.error
    if isinstance(inner, _Error):
        return inner.message
    return error.message or inner or ""


def _decode_vector(raw: bytes) -> NDArray[np.float32]:
    try:
        if raw[:1] == b'"':
            return np.frombuffer(pybase64.b64decode(raw[1:-1], validate=True), dtype="<f4")
        numbers = msgspec.json.decode(raw, type=list[float])
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is told
            return np.array(numbers, dtype=np.float32)
    except (ValueError, *_NOT_SO) as error:
        raise BadAnswerError("A vector cannot be decoded.", why=str(error)) from error
