"""What is put before a query. Documents are embedded bare."""

from __future__ import annotations

WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
"""The task that Qwen3-Embedding's own `query` prompt states
(config_sentence_transformers.json and model card of Qwen/Qwen3-Embedding-0.6B)."""


def query_prompt(task: str) -> str:
    """Return Qwen3-Embedding's template for a task; no space follows `Query:`."""
    return f"Instruct: {task}\nQuery:"


def default_query_prompt(served_name: str, model_path: str) -> str:
    """Return what goes before a query for which no task is given.

    Models of the Qwen3-Embedding family were trained with an instruction on queries;
    other models get the bare text, which is right for MiniLM and its kind.
    """
    if any("qwen3-embedding" in name.lower() for name in (served_name, model_path)):
        return query_prompt(WEB_SEARCH)
    return ""
