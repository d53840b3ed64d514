"""The client's logic, over a transport that needs no socket."""

import json
import unicodedata
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from sgl_embed_kit import EmbeddingClient
from sgl_embed_kit.client import BadAnswerError, ConnectionFailedError, RefusedError
from sgl_embed_kit.client.sync import TEXTS_PER_REQUEST
from tests.client.test_wire import answer, packed

Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers with the vector (length of the text, 1) and remembers what was asked."""

    def __init__(self, name: str = "bert") -> None:
        self.name = name
        self.inputs: list[list[str]] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path.endswith("/v1/models"):
            return httpx.Response(200, json={"data": [{"id": self.name, "root": "/m"}]})
        texts = json.loads(request.content)["input"]
        self.inputs.append(texts)
        return httpx.Response(200, content=answer(*(packed(len(t), 1) for t in texts)))


def client_of(
    handler: Handler, *, model: str | None = None, api_key: str | None = None
) -> EmbeddingClient:
    transport = httpx.MockTransport(handler)
    return EmbeddingClient("http://server", model=model, api_key=api_key, transport=transport)


def test_documents_come_back_bare_in_order_as_one_float32_array() -> None:
    server = Server()
    vectors = client_of(server).embed_documents(["a", "bbb", "cc"])
    assert server.inputs == [["a", "bbb", "cc"]]
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 2)
    assert (vectors[:, 0] / vectors[:, 1]).round(4).tolist() == [1, 3, 2]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_norms_stay_as_sent_where_asked() -> None:
    vectors = client_of(Server()).embed_documents(["abc"], normalize=False)
    assert vectors.tolist() == [[3, 1]]


def test_a_long_list_travels_in_several_requests_and_keeps_its_order() -> None:
    server = Server()
    texts = ["x" * (n % 7 + 1) for n in range(2 * TEXTS_PER_REQUEST + 3)]
    vectors = client_of(server).embed_documents(texts)
    assert [len(batch) for batch in server.inputs] == [TEXTS_PER_REQUEST, TEXTS_PER_REQUEST, 3]
    assert (vectors[:, 0] / vectors[:, 1]).round(4).tolist() == [len(text) for text in texts]


def test_no_texts_make_no_request() -> None:
    server = Server()
    assert client_of(server).embed_documents([]).shape == (0, 0)
    assert server.requests == []


def test_one_text_in_place_of_a_list_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="list"):
        client_of(Server()).embed_documents("text")


def test_a_query_is_one_vector() -> None:
    assert client_of(Server()).embed_query("abc").shape == (2,)


def test_a_task_is_put_before_the_query_in_qwens_form() -> None:
    server = Server()
    client_of(server).embed_query("sort a list", task="Given a question, retrieve code")
    assert server.inputs == [["Instruct: Given a question, retrieve code\nQuery:sort a list"]]


def test_without_a_task_the_served_model_decides() -> None:
    bert, qwen = Server("bert"), Server("Qwen3-Embedding-0.6B")
    client_of(bert).embed_query("capital of China")
    client_of(qwen).embed_query("capital of China")
    assert bert.inputs == [["capital of China"]]
    assert qwen.inputs[0][0].startswith("Instruct: Given a web search query")
    assert qwen.inputs[0][0].endswith("\nQuery:capital of China")


def test_texts_travel_in_nfc() -> None:
    server = Server()
    client_of(server).embed_documents([unicodedata.normalize("NFD", "café")])
    assert server.inputs == [["café"]]


def test_the_served_name_is_asked_for_once_and_sent() -> None:
    server = Server("served")
    client = client_of(server)
    client.embed_documents(["a"])
    client.embed_documents(["b"])
    paths = [request.url.path for request in server.requests]
    assert paths == ["/v1/models", "/v1/embeddings", "/v1/embeddings"]
    assert json.loads(server.requests[-1].content)["model"] == "served"


def test_a_named_model_needs_no_question() -> None:
    server = Server()
    client_of(server, model="mine").embed_documents(["a"])
    assert json.loads(server.requests[0].content)["model"] == "mine"


def test_every_request_says_that_it_is_json() -> None:
    server = Server()
    client_of(server).embed_documents(["a"])
    posted = [request for request in server.requests if request.method == "POST"]
    assert {request.headers["content-type"] for request in posted} == {"application/json"}


def test_the_key_is_sent_as_a_bearer() -> None:
    server = Server()
    client_of(server, api_key="secret").embed_documents(["a"])
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer secret"}


@pytest.mark.parametrize("base", ["http://server", "http://server/", "http://server/v1"])
def test_the_address_may_end_in_v1_or_not(base: str) -> None:
    server = Server()
    EmbeddingClient(base, model="m", transport=httpx.MockTransport(server)).embed_documents(["a"])
    assert str(server.requests[0].url) == "http://server/v1/embeddings"


def test_a_refusal_carries_status_and_the_servers_words() -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"message": "The input (300 tokens) is longer"})

    with pytest.raises(RefusedError) as caught:
        client_of(refuse, model="m").embed_documents(["a"])
    assert caught.value.status == 400
    assert caught.value.why == "The input (300 tokens) is longer"


def test_no_connection_is_said_with_the_address() -> None:
    def unreachable(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ConnectionFailedError, match="http://server gave no answer"):
        client_of(unreachable).embed_documents(["a"])


def test_a_vector_of_zeros_is_an_error() -> None:
    def zeros(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answer(packed(0, 0)))

    with pytest.raises(BadAnswerError, match="zeros"):
        client_of(zeros, model="m").embed_documents(["a"])
