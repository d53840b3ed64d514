"""What a model allows a profile to ask for, as far as it is known before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model import tiny
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.model.known import known_model
from sgl_embed_kit.model.shape import ModelShape
from sgl_embed_kit.model.source import Kind, Source


@dataclass(frozen=True)
class Bounds:
    """Limits of a model; None where they are not known.

    Attributes:
        positions: Tokens that a context may have.
        longest_text: Tokens that a text may have by the model's own declaration.
        hidden_size: Largest dimension of a vector.
        is_whole_state: Whether a full vector has just this dimension.
        attention_heads: Query heads, which tensor parallelism divides.
        is_encoder: Whether attention looks both ways, so that a text cannot be cut.
    """

    positions: int | None
    longest_text: int | None
    hidden_size: int | None
    is_whole_state: bool
    attention_heads: int | None
    is_encoder: bool


MINILM = Bounds(512, 256, 384, True, 12, is_encoder=True)
"""all-MiniLM-L6-v2, by the files that are fetched (config.json, sentence_bert_config.json)."""


def bounds_of(source: Source, folders: Folders | None = None) -> Bounds | None:
    """Return a model's bounds from its files, or from what is known of it without them.

    Args:
        source: Where the model comes from.
        folders: What was read of folders already.

    Raises:
        KitError: its folder is here and cannot be served.
    """
    if source.kind is Kind.REPO:
        known = known_model(source.model_path)
        return _of_shape(known.shape) if known else None
    if not source.is_missing:
        assert source.folder is not None
        return of_folder((folders or Folders()).sound(source.folder))
    return MINILM if source.kind is Kind.DEMO else _of_tiny(tiny.TinyModel())


def bounds_or_none(source: Source, folders: Folders | None = None) -> Bounds | None:
    """Return a model's bounds, or None where its folder has a fault; the checks name it."""
    try:
        return bounds_of(source, folders)
    except KitError:
        return None


def of_folder(folder: ModelFacts) -> Bounds:
    """Return the bounds that a model's files declare."""
    return Bounds(
        positions=folder.usable_positions,
        longest_text=folder.longest_text,
        hidden_size=folder.config.hidden_size,
        is_whole_state=folder.full_dimensions is not None,
        attention_heads=folder.config.attention_heads,
        is_encoder=folder.is_encoder,
    )


def _of_shape(shape: ModelShape) -> Bounds:
    return Bounds(
        shape.positions, None, shape.hidden_size, True, shape.attention_heads, is_encoder=False
    )


def _of_tiny(model: tiny.TinyModel) -> Bounds:
    heads = model.hidden_size // tiny.HEAD_DIM
    return Bounds(tiny.CONTEXT_LENGTH, None, model.hidden_size, True, heads, is_encoder=False)
