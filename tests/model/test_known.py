"""The known models' numbers agree with each other."""

import pytest

from sgl_embed_kit.model.known import known_model, known_models
from sgl_embed_kit.model.shape import ModelShape


@pytest.mark.parametrize("name", known_models())
def test_the_shape_adds_up_to_the_parameters(name: str) -> None:
    model = known_models()[name].shape
    assert parameters_of(model) == model.parameters


def parameters_of(model: ModelShape) -> int:
    """Add up the weights of Qwen3Model: no separate head, a norm for each query and key head."""
    queries, keys = model.attention_heads * model.head_dim, model.kv_heads * model.head_dim
    attention = model.hidden_size * (2 * queries + 2 * keys) + 2 * model.head_dim
    feed_forward = 3 * model.hidden_size * model.intermediate_size
    norms = 2 * model.hidden_size
    layers = model.layers * (attention + feed_forward + norms)
    return layers + model.hidden_size * model.vocabulary + model.hidden_size


@pytest.mark.parametrize("name", known_models())
def test_revisions_are_commits(name: str) -> None:
    revision = known_models()[name].revision
    assert len(revision) == 40
    assert int(revision, 16)


def test_a_model_that_nobody_described_is_not_known() -> None:
    assert known_model("org/model") is None
