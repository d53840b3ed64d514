"""A profile's limits against its model's."""

import pytest

from sgl_embed_kit.model.bounds import Bounds
from sgl_embed_kit.plan.limits import beyond_model, settled_limits
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.schema import LimitsSection

QWEN = Bounds(32768, None, 1024, True, 16, is_encoder=False)
BERT = Bounds(512, 256, 384, True, 12, is_encoder=True)


def profile(**sections: object) -> Profile:
    return Profile.model_validate({"model": {"path": "org/model"}, **sections})


@pytest.mark.parametrize(
    ("bounds", "at_most", "context", "pool"),
    [
        (BERT, None, 257, 16384),  # 256 tokens fit
        (Bounds(512, None, 1, True, 1, is_encoder=False), None, 512, 16384),
        (Bounds(512, 512, 1, True, 1, is_encoder=False), None, 512, 16384),
        (QWEN, None, 32768, 65536),
        (QWEN, 8192, 8193, 16386),
        (Bounds(None, None, 1, True, 1, is_encoder=False), 8192, 8193, 16386),
        (Bounds(None, None, 1, True, 1, is_encoder=False), None, None, 16384),
        (None, None, None, 16384),
    ],
)
def test_the_pool_always_holds_two_contexts(
    bounds: Bounds | None, at_most: int | None, context: int | None, pool: int
) -> None:
    limits = settled_limits(LimitsSection(), bounds, at_most=at_most)
    assert (limits.context_length, limits.max_total_tokens) == (context, pool)


def test_what_the_profile_says_stands() -> None:
    said = LimitsSection(context_length=100, max_total_tokens=300)
    assert settled_limits(said, QWEN) == said


def test_a_memory_fraction_is_limit_enough() -> None:
    limits = settled_limits(LimitsSection(mem_fraction_static=0.5), QWEN)
    assert (limits.context_length, limits.max_total_tokens) == (32768, None)


@pytest.mark.parametrize(
    ("bounds", "asked", "said"),
    [
        (QWEN, {"limits": {"context_length": 32769}}, "longer than the model's, which is 32768"),
        (QWEN, {"embedding": {"dimensions": 1025}}, "have 1024 dimensions, not 1025"),
        (QWEN, {"embedding": {"dimensions": 512}}, "have 1024 dimensions, not 512"),
        (BERT, {"limits": {"chunked_prefill_size": 256}}, "cannot be taken in chunks"),
        (QWEN, {"hardware": {"gpus": 3}, "parallel": {"tensor": 3}}, "among 3 GPUs"),
    ],
)
def test_what_is_beyond_the_model_is_named(
    bounds: Bounds, asked: dict[str, object], said: str
) -> None:
    ((place, text),) = beyond_model(profile(**asked), bounds)
    assert said in text
    assert place[0] in asked


@pytest.mark.parametrize(
    ("bounds", "asked"),
    [
        (QWEN, {"limits": {"context_length": 32768, "chunked_prefill_size": 512}}),
        (QWEN, {"embedding": {"dimensions": 1024}}),
        (BERT, {"limits": {"chunked_prefill_size": -1}}),
        (Bounds(None, None, 768, False, None, is_encoder=False), {"embedding": {"dimensions": 64}}),
        (Bounds(None, None, None, False, None, is_encoder=False), {"embedding": {"dimensions": 9}}),
    ],
)
def test_what_the_model_can_do_or_what_is_not_known_passes(
    bounds: Bounds, asked: dict[str, object]
) -> None:
    assert list(beyond_model(profile(**asked), bounds)) == []
