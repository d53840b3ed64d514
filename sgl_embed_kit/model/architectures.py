"""How SGLang serves an architecture that config.json names, from a file of what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from sgl_embed_kit.data_files import data_file
from sgl_embed_kit.guard.declared import BIDIRECTIONAL_ARCHITECTURES, Pooling

DESCRIBED_VERSION = "0.5.23"
"""The SGLang whose source the file describes."""
EMBEDDING_GEMMA = "EmbeddingGemmaModel"


class Task(StrEnum):
    """What an architecture does when SGLang is asked for embeddings."""

    EMBED = "embed"
    CLASSIFY = "classify"
    GENERATE = "generate"


class Caches(StrEnum):
    """What becomes of prefix cache and chunked prefill, which need causal attention.

    Safe: attention is causal. Switched off: SGLang does it by itself. Unsafe: it leaves
    them on although each token sees the whole text, so that a vector depends on what was
    asked before.
    """

    SAFE = "safe"
    SWITCHED_OFF = "switched-off"
    UNSAFE = "unsafe"


@dataclass(frozen=True)
class Architecture:
    """An architecture that SGLang has a class for.

    Attributes:
        name: SGLang's class, which is config.json's name but for EmbeddingGemma.
        source: Its module under sglang/srt/models/, without the suffix.
        task: What it does.
        needs_flag: Whether it embeds only with --is-embedding.
        pooling: What it pools by; None where it does not embed.
        normalised: Whether it scales vectors to length 1.
        is_bidirectional: Whether each token sees the whole text.
        caches: What becomes of prefix cache and chunked prefill.
        has_head: Whether an output head of its own is allocated where config.json says
            `tie_word_embeddings: false`, or nothing.
        counts_from_padding: Whether the first token's position is the padding token's id
            plus one, so that so many positions fewer are left for a text.
    """

    name: str
    source: str
    task: Task
    needs_flag: bool
    pooling: Pooling | None = None
    normalised: bool = False
    is_bidirectional: bool = False
    caches: Caches = Caches.SAFE
    has_head: bool = False
    counts_from_padding: bool = False

    @property
    def guard_pools(self) -> bool:
        """Whether the guard gives it the pooling that the model declares."""
        return self.name in BIDIRECTIONAL_ARCHITECTURES

    @property
    def where(self) -> str:
        """Where SGLang's source shows it."""
        return f"sglang/srt/models/{self.source}.py"


def architecture_of(config: Mapping[str, Any]) -> Architecture | None:
    """Return how SGLang serves the model of a config.json; None where nothing is known.

    Of several architectures SGLang takes the first that it has a class for
    (resolve_model_cls, srt/models/registry.py). EmbeddingGemma is told from other Gemma 3
    models by its attention alone (is_embedding_gemma, srt/configs/model_config.py).
    """
    gemma = config.get("model_type") == "gemma3_text" and config.get("use_bidirectional_attention")
    names = [EMBEDDING_GEMMA] if gemma else architecture_names(config)
    return next((known_architectures()[n] for n in names if n in known_architectures()), None)


def architecture_names(config: Mapping[str, Any]) -> list[str]:
    """Return `architectures` of a config.json, which may also be one name."""
    named = config.get("architectures")
    if isinstance(named, str):
        return [named]
    return [str(name) for name in named] if isinstance(named, Sequence) else []


@cache
def known_architectures() -> dict[str, Architecture]:
    """Return what is known, by the name of SGLang's class."""
    entries = data_file(__package__, "architectures.yaml")
    return {name: _architecture(name, **entry) for name, entry in entries.items()}


def _architecture(
    name: str,
    *,
    source: str,
    task: str,
    needs_flag: bool,
    pooling: str | None = None,
    normalised: bool = False,
    attention: str = "causal",
    caches: str = "safe",
    has_head: bool = False,
    first_position: str = "zero",
) -> Architecture:
    return Architecture(
        name=name,
        source=source,
        task=Task(task),
        needs_flag=needs_flag,
        pooling=Pooling(pooling) if pooling else None,
        normalised=normalised,
        is_bidirectional=attention == "both",
        caches=Caches(caches),
        has_head=has_head,
        counts_from_padding=first_position == "after-padding",
    )
