"""Models whose shape is known without their files, so that a profile can be checked anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from sgl_embed_kit.model.shape import ModelShape


@dataclass(frozen=True)
class KnownModel:
    """A model of the hub.

    Attributes:
        revision: A commit of the repository whose source is public.
        shape: What its files would say.
    """

    revision: str
    shape: ModelShape


def known_model(repo: str) -> KnownModel | None:
    """Return what is known of a repository's model, or None."""
    return known_models().get(repo)


@cache
def known_models() -> dict[str, KnownModel]:
    """Return the known models by repository id; the file says where the facts are from."""
    text = resources.files(__package__).joinpath("known_models.yaml").read_text(encoding="utf-8")
    return {
        name: KnownModel(facts["revision"], ModelShape(**facts["shape"]))
        for name, facts in yaml.safe_load(text).items()
    }
