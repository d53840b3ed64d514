"""Right vectors from encoders: the declared pooling, and no cache that breaks it.

SGLang pools BertModel and XLMRobertaModel by the CLS token whatever the model folder
declares, and leaves prefix cache and chunked prefill on although their attention is
bidirectional, so that a text's vector depends on what was asked before.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from sgl_embed_kit.guard.declared import (
    BIDIRECTIONAL_ARCHITECTURES,
    Pooling,
    UnsupportedPoolingError,
    declared_pooling,
)

logger = logging.getLogger(__name__)


def register() -> None:
    """Hook the encoders' constructors and SGLang's own table of what is safe."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    for encoder in (
        "sglang.srt.models.bert.BertModel",
        "sglang.srt.models.roberta.XLMRobertaModel",
    ):
        HookRegistry.register(f"{encoder}.__init__", apply_declared_pooling, HookType.AFTER)
    HookRegistry.register(
        "sglang.srt.configs.embedding_model_spec.resolve_embedding_model_spec",
        switch_off_unsafe_caches,
        HookType.AFTER,
    )


def switch_off_unsafe_caches(spec: Any, architectures: Any, **_: object) -> Any:
    """Mark prefix cache and chunked prefill unsafe for bidirectional encoders.

    SGLang then turns both off itself, as it does for EmbeddingGemma
    (srt/arg_groups/model_hook.py, `safe_disable_radix_cache` and
    `safe_disable_chunked_prefill`), whatever the command line says.
    """
    if BIDIRECTIONAL_ARCHITECTURES.isdisjoint(architectures or ()):
        return spec
    return dataclasses.replace(
        spec, safe_disable_radix_cache=True, safe_disable_chunked_prefill=True
    )


def apply_declared_pooling(_result: None, model: Any, *_args: object, **_kwargs: object) -> None:
    """Give an encoder that was just built the pooling that its folder declares.

    Raises:
        RuntimeError: the folder declares a pooling that SGLang cannot do. The server
            then stops, because its vectors would be wrong.
    """
    from sglang.srt.layers.pooler import Pooler, PoolingType
    from sglang.srt.runtime_context import get_model

    if not isinstance(getattr(model, "pooler", None), Pooler) or not get_model().is_embedding:
        return
    try:
        pooling = declared_pooling(_reader(get_model().model_path, get_model().revision))
    except UnsupportedPoolingError as error:
        raise RuntimeError(
            f"sgl-embed guard: refusing to serve wrong vectors: {error}. "
            "SGLang can pool by CLS, mean or last token."
        ) from error
    if pooling is None:
        return
    chosen = {
        Pooling.CLS: PoolingType.CLS,
        Pooling.MEAN: PoolingType.MEAN,
        Pooling.LAST: PoolingType.LAST,
    }[pooling]
    model.pooler.pooling_type = chosen
    logger.info("sgl-embed guard: %s pooling, as the model declares", pooling.value)


def _reader(model_path: str, revision: str | None) -> Any:
    """Return a function that reads a file of the model, from its folder or its repo."""

    def read(name: str) -> str | None:
        path = Path(model_path) / name
        if not Path(model_path).is_dir():
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

            try:
                path = Path(hf_hub_download(model_path, name, revision=revision))
            except LocalEntryNotFoundError as error:  # says nothing of the repo's content
                raise UnsupportedPoolingError(f"{name} cannot be fetched: {error}") from error
            except EntryNotFoundError:
                return None
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UnsupportedPoolingError(f"{name} cannot be read: {error}") from error

    return read
