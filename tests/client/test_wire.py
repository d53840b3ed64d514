"""The bytes on the wire."""

import base64
import json
import struct
from typing import Any

import msgspec
import numpy as np
import pytest

from sgl_embed_kit.client.errors import BadAnswerError
from sgl_embed_kit.client.wire import decode_error, decode_model, decode_vectors, encode_request


def answer(*vectors: Any, indices: list[int] | None = None) -> bytes:
    order = indices if indices is not None else list(range(len(vectors)))
    items = [
        {"embedding": vector, "index": index, "object": "embedding"}
        for vector, index in zip(vectors, order, strict=True)
    ]
    return json.dumps({"data": items, "model": "m", "object": "list"}).encode()


def packed(*numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def test_a_request_asks_for_base64() -> None:
    assert json.loads(encode_request(["a", "é"], "m")) == {
        "input": ["a", "é"],
        "model": "m",
        "encoding_format": "base64",
    }


@pytest.mark.parametrize("vectors", [([1, 2.5], [3, 4]), (packed(1, 2.5), packed(3, 4))])
def test_floats_and_base64_decode_to_the_same_array(vectors: tuple[Any, ...]) -> None:
    decoded = decode_vectors(answer(*vectors), 2)
    assert decoded.dtype == np.float32
    assert decoded.flags["C_CONTIGUOUS"]
    assert decoded.tolist() == [[1, 2.5], [3, 4]]


def test_rows_follow_the_index_not_the_order_of_arrival() -> None:
    decoded = decode_vectors(answer(packed(1), packed(2), packed(3), indices=[2, 0, 1]), 3)
    assert decoded.tolist() == [[2], [3], [1]]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"not json", 1),
        (b"{}", 1),
        (answer([1.0]), 2),
        (answer([1.0], [2.0]), 1),
        (answer([1.0], [2.0], indices=[0, 0]), 2),
        (answer([1.0], [2.0], indices=[1, 2]), 2),
        (answer([1.0], [2.0, 3.0]), 2),
        (answer([]), 1),
        (answer(["x"]), 1),
        (answer("@@@"), 1),
        (answer(base64.b64encode(b"abc").decode()), 1),
        (answer(packed(float("nan"))), 1),
        (answer(packed(float("inf"))), 1),
        (answer(None), 1),
    ],
)
def test_what_cannot_be_the_vectors_is_an_error(body: bytes, count: int) -> None:
    with pytest.raises(BadAnswerError):
        decode_vectors(body, count)


def test_the_first_model_is_the_served_one() -> None:
    body = msgspec.json.encode({"data": [{"id": "name", "root": "/path", "created": 1}]})
    assert decode_model(body) == ("name", "/path")


@pytest.mark.parametrize("body", [b'{"data": []}', b"<html>", b"{}"])
def test_a_server_that_lists_no_model_is_an_error(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        decode_model(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object": "error", "message": "flat"}', "flat"),
        (b'{"error": {"message": "enveloped"}}', "enveloped"),
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b"<html>502</html>", "<html>502</html>"),
        (b"", ""),
    ],
)
def test_every_shape_of_error_yields_its_message(body: bytes, message: str) -> None:
    assert decode_error(body) == message


def test_a_number_that_is_too_large_for_float32_is_told_without_a_warning() -> None:
    body = b'{"data": [{"index": 0, "embedding": [1e39]}]}'
    with pytest.raises(BadAnswerError, match="not finite"):
        decode_vectors(body, 1)


@pytest.mark.parametrize("start", [b'{"x":', b'{"data":[{"index":0,"embedding":'])
def test_an_answer_that_is_nested_without_end_holds_no_vectors(start: bytes) -> None:
    with pytest.raises(BadAnswerError):
        decode_vectors(start + b"[" * 200_000, 1)
    assert decode_error(b'{"error":' * 200_000).startswith('{"error":')
