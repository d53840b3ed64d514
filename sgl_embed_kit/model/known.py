"""Models whose shape is known without their files, so that a profile can be checked anywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from sgl_embed_kit.data_files import data_file
from sgl_embed_kit.model.shape import ModelShape


@dataclass(frozen=True)
class Card:
    """What a model card says.

    Attributes:
        context: Tokens of the longest text that the model was made for.
        smallest_dimension: Fewest dimensions to which a vector may be cut (Matryoshka).
        ends_in: Token that every text must end in.
    """

    context: int
    smallest_dimension: int
    ends_in: str


@dataclass(frozen=True)
class KnownModel:
    """A model of the hub.

    Attributes:
        revision: A commit of the repository whose source is public.
        shape: What its files would say.
        card: What its card says.
    """

    revision: str
    shape: ModelShape
    card: Card


def known_model(repo: str) -> KnownModel | None:
    """Return what is known of a repository's model, or None."""
    return known_models().get(repo)


def model_like(shape: ModelShape) -> str | None:
    """Return the repository of the known model that has just this shape, or None.

    A model that was made from it by further training has it, too.
    """
    for name, known in known_models().items():
        if replace(known.shape, separate_head=shape.separate_head) == shape:
            return name
    return None


@cache
def known_models() -> dict[str, KnownModel]:
    """Return the known models by repository id; the file says where the facts are from."""
    return {
        name: KnownModel(facts["revision"], ModelShape(**facts["shape"]), Card(**facts["card"]))
        for name, facts in data_file(__package__, "known_models.yaml").items()
    }
