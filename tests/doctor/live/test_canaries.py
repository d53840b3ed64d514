"""The vectors themselves: what the live checks find."""

import base64
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from sgl_embed_kit.doctor.engine import Status
from sgl_embed_kit.doctor.live.canaries import NORM_TOLERANCE
from tests.doctor.live.cases import Case
from tests.doctor.live.fakes import FakeSglang, find, refusal, vector_of

NO_VECTORS = FakeSglang(routes={"/v1/embeddings": refusal(400, "Please add `--is-embedding`")})
BERT = {"architectures": ["BertModel"]}
Vector = np.ndarray[Any, Any]


def turned(text: str, cosine: float) -> Vector:
    """Return a unit vector with this cosine to the text's own."""
    one, other = vector_of(text), vector_of(f"another {text}")
    other -= (other @ one) * one
    other /= np.linalg.norm(other)
    return np.asarray(cosine * one + np.sqrt(1 - cosine**2) * other)


def answers(content: bytes) -> dict[str, Any]:
    return {"server": FakeSglang(routes={"/v1/embeddings": httpx.Response(200, content=content)})}


def again(cosine: float) -> FakeSglang:
    return FakeSglang(vector=lambda text, times, _: turned(text, cosine if times > 1 else 1))


def together(cosine: float) -> FakeSglang:
    return FakeSglang(vector=lambda text, _, many: turned(text, cosine if many > 1 else 1))


def long(norm: float) -> FakeSglang:
    return FakeSglang(vector=lambda text, *_: vector_of(text) * norm)


def base64_as(change: Callable[[dict[str, Any]], None]) -> FakeSglang:
    """Return a server that answers for base64 with a changed answer for JSON numbers."""
    plain = FakeSglang()

    def answer(request: httpx.Request) -> httpx.Response:
        content = json.loads(request.content)
        is_base64 = content["encoding_format"] == "base64"
        body = plain._embed({**content, "encoding_format": "float"}).json()
        if is_base64:
            change(body["data"][0])
        return httpx.Response(200, json=body)

    return FakeSglang(routes={"/v1/embeddings": answer})


def packed(vector: Vector) -> Callable[[dict[str, Any]], None]:
    text = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return lambda item: item.update(embedding=text)


def by_form(cosine: float) -> FakeSglang:
    return FakeSglang(
        vector=lambda text, *_: (
            turned("one", cosine) if "\u0301" in text or "\u0308" in text else vector_of("one")
        )
    )


ONE = np.eye(8)[0]
NEAR = np.array([999, 44, 7, 3, 2, 1, 0, 0])
"""Of length 1000, so that its cosine to `ONE` is 0.999 to the last bit: just enough."""
NEAR_AGAIN = FakeSglang(vector=lambda _text, times, _many: NEAR if times > 1 else ONE)
NEAR_IN_NFD = FakeSglang(vector=lambda text, *_: NEAR if "\u0301" in text else ONE)

CASES: list[Case] = [
    ("SGE-LIVE-014", {}, Status.OK, "a vector of 8 dimensions"),
    ("SGE-LIVE-014", {"profile": {"embedding": {"dimensions": 8}}}, Status.OK, "8 dimensions"),
    ("SGE-LIVE-014", {"profile": {"embedding": {"dimensions": 9}}}, Status.ERROR, "8 dimensions"),
    ("SGE-LIVE-014", {"server": NO_VECTORS}, Status.ERROR, "400: Please add `--is-embedding`"),
    (
        "SGE-LIVE-014",
        {"server": FakeSglang(routes={"/v1/embeddings": refusal(404)})},
        Status.ERROR,
        "POST /v1/embeddings is closed (404)",
    ),
    (
        "SGE-LIVE-014",
        {"server": FakeSglang(key="k3y.of-the_users")},
        Status.SKIP,
        "needs a key that fits",
    ),
    ("SGE-LIVE-014", answers(b"<html>"), Status.ERROR, "gives no vectors"),
    ("SGE-LIVE-014", answers(b'{"data": []}'), Status.ERROR, "has 0 vectors for 1 texts"),
    (
        "SGE-LIVE-014",
        answers(b'{"data": [{"index": 0, "embedding": [NaN]}]}'),
        Status.ERROR,
        "gives no vectors",
    ),
    (
        "SGE-LIVE-014",
        answers(b'{"data": [{"index": 0, "embedding": "AADAfw=="}]}'),  # a float32 NaN
        Status.ERROR,
        "not finite",
    ),
    (
        "SGE-LIVE-014",
        answers(b'{"data": [{"index": 0, "embedding": "%%%"}]}'),
        Status.ERROR,
        "cannot be decoded",
    ),
    (
        "SGE-LIVE-014",
        answers(b'{"data": [{"index": 0, "embedding": [1e39]}]}'),
        Status.ERROR,
        "not finite",
    ),
    ("SGE-LIVE-014", answers(b"[" * 100_000), Status.ERROR, "gives no vectors"),
    ("SGE-LIVE-015", {}, Status.OK, "norms within 0.0000 of 1"),
    ("SGE-LIVE-015", {"server": long(1 + 0.95 * NORM_TOLERANCE)}, Status.OK, "within 0.0019"),
    ("SGE-LIVE-015", {"server": long(1 + 1.05 * NORM_TOLERANCE)}, Status.ERROR, "norm 1.0021"),
    ("SGE-LIVE-015", {"server": long(1 - 1.05 * NORM_TOLERANCE)}, Status.ERROR, "norm 0.9979"),
    ("SGE-LIVE-015", {"server": long(0)}, Status.ERROR, "norm 0.0000"),
    ("SGE-LIVE-015", {"server": NO_VECTORS}, Status.SKIP, "no vectors to look at"),
    ("SGE-LIVE-016", {}, Status.OK, "gets the same vector (cosine 1.0000)"),
    ("SGE-LIVE-016", {"server": again(0.9992)}, Status.OK, "cosine 0.9992"),
    ("SGE-LIVE-016", {"server": again(0.9988)}, Status.ERROR, "gets another vector: cosine 0.998"),
    ("SGE-LIVE-016", {"server": NEAR_AGAIN}, Status.OK, "cosine 0.9990"),
    ("SGE-LIVE-016", {"server": long(0)}, Status.ERROR, "cosine 0.0000"),
    ("SGE-LIVE-016", {"server": NO_VECTORS}, Status.SKIP, "no vectors to look at"),
    ("SGE-LIVE-017", {}, Status.OK, "6 texts get the same vectors in a batch as alone"),
    ("SGE-LIVE-017", {"server": together(0.9992)}, Status.OK, "cosine 0.9992"),
    ("SGE-LIVE-017", {"server": together(0.9988)}, Status.ERROR, "another vector in a batch"),
    (
        "SGE-LIVE-017",
        {"server": FakeSglang(vector=lambda text, _, many: vector_of(text, 8 + (many > 1)))},
        Status.ERROR,
        "9 and 8 dimensions",
    ),
    ("SGE-LIVE-017", {"server": NO_VECTORS}, Status.SKIP, "no vectors to look at"),
    ("SGE-LIVE-018", {}, Status.OK, "base64 and JSON numbers give the same vector"),
    ("SGE-LIVE-018", {"server": base64_as(lambda _: None)}, Status.WARN, "not honoured"),
    (
        "SGE-LIVE-018",
        {"server": base64_as(packed(vector_of("other")))},
        Status.ERROR,
        "base64 gives another vector",
    ),
    (
        "SGE-LIVE-018",
        {"server": base64_as(lambda item: item.update(embedding="AAA"))},
        Status.ERROR,
        "gives no vector",
    ),
    ("SGE-LIVE-018", {"server": NEAR_AGAIN}, Status.OK, "the same vector (cosine 0.9990)"),
    ("SGE-LIVE-018", {"server": again(0.9)}, Status.SKIP, "another vector each time"),
    ("SGE-LIVE-018", {"server": NO_VECTORS}, Status.SKIP, "no vectors to look at"),
    ("SGE-LIVE-019", {"server": by_form(1)}, Status.OK, "both Unicode forms"),
    ("SGE-LIVE-019", {"server": NEAR_IN_NFD}, Status.OK, "both Unicode forms"),
    ("SGE-LIVE-019", {"server": by_form(0.9988)}, Status.INFO, "different vectors: cosine 0.99"),
    ("SGE-LIVE-019", {"server": NO_VECTORS}, Status.SKIP, "no vectors to look at"),
    ("SGE-LIVE-020", {}, Status.OK, "every text ends with <|endoftext|> (id 7)"),
    (
        "SGE-LIVE-020",
        {"server": FakeSglang(routes={"/v1/detokenize": refusal(404)})},
        Status.OK,
        "every text ends with the id 7",
    ),
    ("SGE-LIVE-020", {"server": FakeSglang(ends=())}, Status.ERROR, "no token at the end"),
    (
        "SGE-LIVE-020",
        {"server": FakeSglang(ends=(), info={"architectures": ["NewModel"]})},
        Status.INFO,
        "no token at the end",
    ),
    (
        "SGE-LIVE-020",
        {"server": FakeSglang(ends=(), info=BERT)},
        Status.OK,
        "BertModel does not pool by the last token",
    ),
    (
        "SGE-LIVE-020",
        {"server": FakeSglang(routes={"/v1/tokenize": refusal(404)})},
        Status.SKIP,
        "POST /v1/tokenize is closed (404)",
    ),
]


def test_every_run_asks_for_texts_that_no_cache_knows() -> None:
    server = FakeSglang()
    find("SGE-LIVE-016", server)
    find("SGE-LIVE-016", server)
    assert sorted(server.asked.values()) == [2, 2]


def test_the_token_at_the_end_is_asked_for_by_name_although_it_is_special() -> None:
    server = FakeSglang()
    find("SGE-LIVE-020", server)
    (request,) = [seen for seen in server.requests if seen.url.path == "/v1/detokenize"]
    assert json.loads(request.content)["skip_special_tokens"] is False


@pytest.mark.parametrize("served", ["fake", None])
def test_requests_carry_the_served_name_where_it_is_told(served: str | None) -> None:
    routes = {} if served else {"/v1/models": refusal(404)}
    server = FakeSglang(routes=dict(routes))
    find("SGE-LIVE-014", server)
    (request,) = [seen for seen in server.requests if seen.url.path == "/v1/embeddings"]
    assert json.loads(request.content)["model"] == (served or "default")
