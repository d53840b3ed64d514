"""A model looked at as closely as can be without serving it: facts, tokenizer, fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.guard.declared import Pooling
from sgl_embed_kit.model import demo
from sgl_embed_kit.model.facts import ModelFacts, read_facts
from sgl_embed_kit.model.faults import Concern, Fault, Severity, concerning, warning
from sgl_embed_kit.model.files import ModelFiles, UnreadableError
from sgl_embed_kit.model.fingerprint import Ingredients, dtype_class, fingerprint, weights_digest
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.hub import configured_hub
from sgl_embed_kit.model.hub_files import open_repo
from sgl_embed_kit.model.safetensors import BrokenError, samples
from sgl_embed_kit.model.scope_files import open_scope
from sgl_embed_kit.model.source import Kind, Source
from sgl_embed_kit.model.tokenizer import (
    TOKENIZER_FILE,
    TOKENIZER_LIMIT,
    TokenizerFacts,
    read_tokenizer,
)
from sgl_embed_kit.model.weights import fetch_again, sentence


@dataclass(frozen=True)
class Inspection:
    """All that can be said of a model.

    Attributes:
        facts: What its files say.
        tokenizer: What its tokenizer does; None where there is none that works.
        ingredients: What its vectors' fingerprint is made of: full vectors of texts without
            a prompt, made with `dtype: auto` and the guard. None where that is not known.
        revision: The commit of a repository, or None.
        faults: All that is wrong.
    """

    facts: ModelFacts
    tokenizer: TokenizerFacts | None
    ingredients: Ingredients | None
    revision: str | None
    faults: tuple[Fault, ...]

    @property
    def fingerprint(self) -> str | None:
        """The vectors' fingerprint, or None."""
        return fingerprint(self.ingredients) if self.ingredients else None

    @property
    def can_be_served(self) -> bool:
        """Whether nothing keeps the model from being served right."""
        return all(fault.severity is not Severity.ERROR for fault in self.faults)


def inspect_source(source: Source, revision: str | None = None) -> Inspection:
    """Look at the model that a path or a repository's name leads to.

    Raises:
        KitError: there is nothing to look at.
    """
    if source.kind is Kind.REPO:
        if configured_hub().is_modelscope:
            return inspect_files(open_scope(source.model_path, revision))
        files, commit = open_repo(source.model_path, revision)
        return inspect_files(files, commit)
    assert source.folder is not None
    if source.is_missing:
        raise KitError(
            "This model has not been made yet.",
            why=f"It will be in {source.folder}, once it is served for the first time.",
            cure="sgl-embed quickstart --once --model "
            + ("tiny:" if source.kind is Kind.TINY else f"demo:{demo.NAME}"),
        )
    return inspect_files(local_files(source.folder))


def inspect_files(files: ModelFiles, revision: str | None = None) -> Inspection:
    """Look at a model's files; what is wrong with them is part of the result."""
    facts = read_facts(files)
    tokenizer, tokenizer_faults = try_tokenizer(files, facts)
    faults = [*facts.faults, *tokenizer_faults]
    ingredients = None
    try:
        if tokenizer is not None:
            ingredients = _ingredients(
                files, facts, tokenizer.sha256, facts.auto_dtype, facts.pooling_with_guard
            )
    except BrokenError as error:
        faults.append(warning(f"{files.name} gets no fingerprint.", sentence(str(error))))
    return Inspection(facts, tokenizer, ingredients, revision, tuple(faults))


def try_tokenizer(
    files: ModelFiles, facts: ModelFacts
) -> tuple[TokenizerFacts | None, list[Fault]]:
    """Return what a model's tokenizer does, None where there is none that works, and its faults."""
    broken = any(TOKENIZER_FILE in fault.what for fault in facts.errors)
    if TOKENIZER_FILE not in files.sizes or broken:  # which the facts say
        return None, []
    try:
        tokenizer = read_tokenizer(files)
    except UnreadableError as error:
        what = f"{files.name}/{TOKENIZER_FILE} cannot be used."
        cure = fetch_again(files)
        return None, [Fault(what, sentence(str(error)), cure, concern=Concern.TOKENIZER)]
    return tokenizer, list(concerning(Concern.TOKENIZER, _tokenizer_faults(facts, tokenizer)))


def _tokenizer_faults(facts: ModelFacts, tokenizer: TokenizerFacts) -> Iterator[Fault]:
    rows = facts.config.vocabulary
    if rows is not None and tokenizer.highest_id >= rows:
        yield Fault(
            f"The tokenizer gives ids up to {tokenizer.highest_id}, the model knows {rows}.",
            "SGLang does not check ids: a text with such a token ends the server. Is "
            f"{TOKENIZER_FILE} another model's?",
        )
    if facts.known and tokenizer.last != facts.known.card.ends_in:
        yield Fault(
            f"A text does not end in {facts.known.card.ends_in}.",
            f"{facts.like}, whose shape this is, takes that token's vector as the text's; the "
            "tokenizers of its first days did not add it.",
            f"hf download {facts.like} tokenizer.json --local-dir {facts.name}",
        )
    elif facts.pooling_with_guard is Pooling.LAST and not tokenizer.last:
        yield warning(
            "A text does not end in a special token.",
            "The last token's vector is the text's, and SGLang adds none by itself: it is "
            "that of whatever the text ends with.",
        )


def served_fingerprint(
    files: ModelFiles, facts: ModelFacts, *, dtype: str, guarded: bool
) -> str | None:
    """Return the name of the full vectors that a server makes; None where it cannot be told.

    The tokenizer is not tried, which takes a second where it is large.

    Args:
        files: The model's files.
        facts: What they say.
        dtype: The profile's `model.dtype`.
        guarded: Whether the guard runs in the server.
    """
    pooling = facts.pooling_with_guard
    if not guarded and facts.served is not None:
        pooling = facts.served.pooling
    computed = facts.auto_dtype if dtype == "auto" else TORCH_NAMES.get(dtype, dtype)
    try:
        content = files.read(TOKENIZER_FILE, TOKENIZER_LIMIT)
        tokenizer = hashlib.sha256(content).hexdigest()
        ingredients = _ingredients(files, facts, tokenizer, computed, pooling)
    except (UnreadableError, BrokenError):
        return None
    return fingerprint(ingredients) if ingredients else None


TORCH_NAMES = {"half": "float16", "float": "float32"}
"""Types that SGLang's `--dtype` has a second name for."""


def _ingredients(
    files: ModelFiles, facts: ModelFacts, tokenizer: str, dtype: str, pooling: Pooling | None
) -> Ingredients | None:
    """Return what a fingerprint is made of, given the tokenizer's SHA-256; None: not known."""
    dimensions = facts.full_dimensions
    if facts.errors or pooling is None or dimensions is None:
        return None
    assert facts.served is not None
    return Ingredients(
        weights=weights_digest([(file, samples(files, file)) for file in facts.weights.files]),
        tokenizer=tokenizer,
        pooling=pooling.value,
        normalised=facts.served.normalised,
        prompt="",
        dimensions=dimensions,
        dtype_class=dtype_class(dtype),
    )
