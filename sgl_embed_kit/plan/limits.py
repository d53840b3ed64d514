"""A profile's limits against its model's: what is asked for beyond them, what is left open."""

from __future__ import annotations

from collections.abc import Iterator

from sgl_embed_kit.model.bounds import Bounds
from sgl_embed_kit.profile.rules import Fault
from sgl_embed_kit.profile.schema import LimitsSection, Profile

SMALLEST_POOL = 16384


def beyond_model(profile: Profile, bounds: Bounds) -> Iterator[Fault]:
    """Yield what a profile asks for and its model cannot do."""
    context, dimensions = profile.limits.context_length, profile.embedding.dimensions
    if context is not None and bounds.positions is not None and context > bounds.positions:
        yield (
            ("limits", "context_length"),
            f"a context of {context} is longer than the model's, which is {bounds.positions}",
        )
    if dimensions is not None and not _can_be_full_vector(dimensions, bounds):
        yield (
            ("embedding", "dimensions"),
            f"the model's full vectors have {bounds.hidden_size} dimensions, not {dimensions}",
        )
    chunk = profile.limits.chunked_prefill_size
    if bounds.is_encoder and chunk is not None and chunk > 0:
        yield (
            ("limits", "chunked_prefill_size"),
            "the model is an encoder: each token sees the whole text, so it cannot be taken "
            "in chunks; leave this key out",
        )
    heads, tensor = bounds.attention_heads, profile.parallel.tensor
    if heads is not None and heads % tensor:
        yield (
            ("parallel", "tensor"),
            f"{heads} attention heads cannot be shared out evenly among {tensor} GPUs",
        )


def _can_be_full_vector(dimensions: int, bounds: Bounds) -> bool:
    if bounds.hidden_size is None:
        return True
    if bounds.is_whole_state:
        return dimensions == bounds.hidden_size
    return dimensions <= bounds.hidden_size


def settled_limits(
    limits: LimitsSection, bounds: Bounds | None, *, at_most: int | None = None
) -> LimitsSection:
    """Return a profile's limits with a context length and a KV pool in place.

    The context is what the model declares for a text, else its positions; SGLang refuses
    a text of exactly that many tokens, hence one more than declared where positions allow
    it. Where neither a memory fraction nor a number of tokens is given, the KV pool holds
    two contexts, in tokens: one longer than the pool would hang the server.

    Args:
        limits: What the profile says; that stands.
        bounds: What the model allows; None where it is not known, and then the context
            stays open if the profile leaves it so.
        at_most: Longest context to choose.
    """
    context = limits.context_length
    if context is None and bounds is not None:
        context = _context(bounds, at_most)
    pool = limits.max_total_tokens
    if pool is None and limits.mem_fraction_static is None:
        pool = max(SMALLEST_POOL, 2 * (context or 0))
    return limits.model_copy(update={"context_length": context, "max_total_tokens": pool})


def _context(bounds: Bounds, at_most: int | None) -> int | None:
    longest = [n for n in (bounds.longest_text, bounds.positions, at_most) if n is not None]
    if not longest:
        return None
    context = min(longest)
    if bounds.positions is not None and context == bounds.positions:
        return context
    return context + 1
