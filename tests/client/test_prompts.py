"""What is put before a query."""

import pytest

from sgl_embed_kit.client.prompts import default_query_prompt, query_prompt


def test_the_template_is_qwens_own_without_a_space_after_query() -> None:
    assert query_prompt("Find code") == "Instruct: Find code\nQuery:"


@pytest.mark.parametrize(
    ("name", "path", "prompted"),
    [
        ("qwen3-embedding-0.6b", "Qwen/Qwen3-Embedding-0.6B", True),
        ("emb", "/models/Qwen3-Embedding-8B", True),
        ("all-minilm-l6-v2", "/cache/all-minilm-l6-v2-1", False),
    ],
)
def test_only_qwen3_embedding_gets_a_prompt_unasked(name: str, path: str, prompted: bool) -> None:
    assert bool(default_query_prompt(name, path)) is prompted
