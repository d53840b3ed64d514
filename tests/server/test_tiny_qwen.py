"""The tiny Qwen3 on a real SGLang server: last-token pooling, as for Qwen3-Embedding."""

import re
from collections.abc import Iterator
from importlib import metadata

import numpy as np
import pytest

from sgl_embed_kit import EmbeddingClient
from sgl_embed_kit.doctor import Status, Subject
from sgl_embed_kit.doctor.checks.ports import port
from sgl_embed_kit.launch.events import Ready
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.reference import Reference, cosines

pytestmark = pytest.mark.server

TEXTS = [
    "a",
    "Apples are a fruit",
    "苹果是一种水果",
    "Python 是一种编程语言",
    "सेब एक फल है",
    "Äpfel und Birnen",
    "x = [1, 2, 3]\nprint(x)",
    "🍎",
    "Searching a large index means comparing vectors. " * 20,
    "Where can I find the invoice of last month? " * 60,
]


@pytest.fixture(scope="module")
def reference() -> Reference:
    folder = locate("tiny:").folder
    assert folder is not None
    return Reference(folder, "last")


@pytest.fixture(scope="module")
def client(tiny_qwen: Ready) -> Iterator[EmbeddingClient]:
    with EmbeddingClient(tiny_qwen.url) as connected:
        yield connected


def test_vectors_are_those_of_transformers_last_token(
    client: EmbeddingClient, reference: Reference
) -> None:
    served = client.embed_documents(TEXTS)
    expected = reference.vectors(TEXTS)
    assert cosines(served, expected).min() >= 0.999
    # Different texts get different vectors, or the line above would say nothing.
    others = expected @ expected.T - np.eye(len(TEXTS), dtype=np.float32)
    assert others.max() < 0.99


def test_a_query_carries_the_models_own_instruction(
    client: EmbeddingClient, reference: Reference
) -> None:
    prompt = "Instruct: Given a web search query, retrieve relevant passages that answer the query"
    expected = reference.vectors([f"{prompt}\nQuery:capital of China"])
    served = client.embed_query("capital of China")
    assert cosines(served[None], expected).min() >= 0.999
    bare = client.embed_documents(["capital of China"])
    assert cosines(served[None], bare).max() < 0.99


def test_the_start_went_through_its_phases_in_order(tiny_qwen: Ready) -> None:
    assert [label for label, _ in tiny_qwen.phases] == [
        "Importing SGLang",
        "Starting the scheduler",
        "Loading weights",
        "Reserving the KV pool",
        "Opening the port",
        "First embedding",
    ]
    assert sum(seconds for _, seconds in tiny_qwen.phases) == pytest.approx(tiny_qwen.seconds)
    assert tiny_qwen.dimension == 128
    assert tiny_qwen.is_normalised
    assert (tiny_qwen.longest, tiny_qwen.pool, tiny_qwen.probed) == (4095, 16384, 0)
    assert tiny_qwen.guard == metadata.version("sgl-embed-kit")
    assert re.fullmatch(r"[0-9a-f]{16}", tiny_qwen.fingerprint or "")
    assert tiny_qwen.log.read_text().count("Load weight begin.") == 1


def test_a_running_server_is_on_record_and_no_fault_of_its_own_profile(tiny_qwen: Ready) -> None:
    (record,) = (one for one in RealMachine().servers() if one.pid == tiny_qwen.pid)
    assert (record.log, record.model) == (str(tiny_qwen.log), "tiny:")
    profile = load_profile("tiny-cpu").with_server(port=record.port)
    finding = port(Subject.of(profile, find_installed(), RealMachine()))
    assert finding.status is Status.INFO
    assert f"(pid {tiny_qwen.pid})" in finding.found
