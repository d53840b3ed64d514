"""MiniLM on a real SGLang server gives the vectors that its authors meant: mean-pooled."""

from collections.abc import Iterator

import numpy as np
import pytest

from sgl_embed_kit import EmbeddingClient
from sgl_embed_kit.client import RefusedError
from sgl_embed_kit.model.source import locate
from tests.conftest import Launched
from tests.reference import Reference, cosines

pytestmark = pytest.mark.server

LONGEST = 256  # tokens, special tokens included: what the model declares
TEXTS = [
    "a",
    "Apples are a fruit",
    "The quick brown fox jumps over the lazy dog.",
    "苹果是一种水果",
    "香蕉也是一种水果,梨长在树上",
    "りんごは果物です",
    "사과는 과일입니다",
    "Les pommes sont des fruits, où est la bibliothèque ?",
    "Äpfel sind Obst und die Straße führt über die Brücke",
    "Яблоки — это фрукты",
    "التفاح فاكهة",
    "def add(a, b):\n    return a + b",
    "SELECT name FROM fruit WHERE price > 10;",
    "🍎🍌🍐 emoji and ½ signs ©",
    "What is the capital of China? " * 8,
    "gravity attracts bodies towards each other and gives weight to objects " * 16,
]


@pytest.fixture(scope="module")
def reference() -> Reference:
    folder = locate("demo:all-minilm-l6-v2").folder
    assert folder is not None
    return Reference(folder, "mean")


@pytest.fixture(scope="module")
def texts(reference: Reference) -> list[str]:
    """The texts above and one of each of several exact lengths in tokens."""
    made = [" ".join(["apple"] * (tokens - 2)) for tokens in (3, 17, 64, 128, 200, 250, LONGEST)]
    every = TEXTS + made
    counts = [reference.count(text) for text in every]
    assert min(counts) == 3  # one token between [CLS] and [SEP]
    assert {17, 64, 128, 200, 250, LONGEST} <= set(counts)
    assert max(counts) == LONGEST
    return every


@pytest.fixture(scope="module")
def client(minilm: Launched) -> Iterator[EmbeddingClient]:
    with EmbeddingClient(minilm.url) as connected:
        yield connected


def test_vectors_are_those_of_transformers_with_mean_pooling(
    client: EmbeddingClient, reference: Reference, texts: list[str]
) -> None:
    served = client.embed_documents(texts, normalize=False)
    expected = reference.vectors(texts)
    assert served.shape == (len(texts), 384)
    assert np.abs(np.linalg.norm(served, axis=1) - 1).max() < 0.001
    assert cosines(served, expected).min() >= 0.999


def test_the_comparison_can_fail(reference: Reference, texts: list[str]) -> None:
    folder = locate("demo:all-minilm-l6-v2").folder
    assert folder is not None
    by_cls = Reference(folder, "cls").vectors(texts)
    assert cosines(by_cls, reference.vectors(texts)).max() < 0.999


def test_the_same_texts_give_the_same_vectors_again(
    client: EmbeddingClient, texts: list[str]
) -> None:
    first, second = client.embed_documents(texts), client.embed_documents(texts)
    assert cosines(first, second).min() >= 0.99999


def test_a_text_in_a_batch_gets_the_vector_that_it_gets_alone(
    client: EmbeddingClient, texts: list[str]
) -> None:
    together = client.embed_documents(texts)
    alone = np.concatenate([client.embed_documents([text]) for text in texts])
    assert cosines(together, alone).min() >= 0.9999


def test_a_shared_beginning_changes_nothing(client: EmbeddingClient, reference: Reference) -> None:
    beginning = "Fruit that grows on trees in warm countries, such as "
    alike = [beginning + fruit for fruit in ("oranges", "lemons", "oranges and lemons")]
    for text in alike:  # one after the other: a prefix cache would answer the later ones
        served = client.embed_documents([text])
        assert cosines(served, reference.vectors([text])).min() >= 0.999


def test_one_token_more_than_the_model_was_made_for_is_refused(client: EmbeddingClient) -> None:
    with pytest.raises(RefusedError, match="400") as caught:
        client.embed_documents([" ".join(["apple"] * (LONGEST - 1))])
    assert "257 tokens" in caught.value.why


def test_launch_prints_what_a_user_needs(minilm: Launched) -> None:
    assert f": {minilm.url}\n" in minilm.printed
    assert "model      all-minilm-l6-v2\n" in minilm.printed
    assert "dimension  384\n" in minilm.printed
