"""What a tokenizer does to a text: really tried, with the library that SGLang's uses."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sgl_embed_kit.model.files import MIB, ModelFiles, UnreadableError, too_large

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_LIMIT = 64 * MIB
"""Bytes of a tokenizer.json that are read: the largest in public use has 33 MB (Gemma 3)."""
SLOW_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""From any of these, transformers can make a fast tokenizer when SGLang starts."""

TRIED = "An apple is a fruit."
COMPOSED = "Crème brûlée 가각"
"""Text whose letters have a composed and a decomposed form."""


@dataclass(frozen=True)
class TokenizerFacts:
    """What tokenizer.json does.

    Attributes:
        sha256: Of the file, in hexadecimal.
        size: Bytes of the file.
        kind: Its model: "BPE", "WordPiece", "Unigram" or "WordLevel".
        normalisers: What it does to a text first, in order, such as "NFC".
        joins_forms: Whether composed and decomposed letters become the same tokens.
        vocabulary: Number of tokens, added ones included.
        highest_id: The highest of their ids.
        first: Token before every text; empty where the text itself comes first.
        last: Token after every text; empty where the text itself comes last.
        last_id: Its id; None where the text itself comes last.
    """

    sha256: str
    size: int
    kind: str
    normalisers: tuple[str, ...]
    joins_forms: bool
    vocabulary: int
    highest_id: int
    first: str
    last: str
    last_id: int | None


def read_tokenizer(files: ModelFiles) -> TokenizerFacts:
    """Load tokenizer.json and try it on texts.

    Raises:
        UnreadableError: it is absent, too large, or no tokenizer.
    """
    size = files.sizes.get(TOKENIZER_FILE)
    if size is None:
        raise UnreadableError(files.odd.get(TOKENIZER_FILE, "it is not there"))
    if size > TOKENIZER_LIMIT:
        raise UnreadableError(too_large(size, TOKENIZER_LIMIT))
    content = files.read(TOKENIZER_FILE, TOKENIZER_LIMIT)
    from tokenizers import Tokenizer  # late: a dry run needs none

    try:
        tokenizer = Tokenizer.from_buffer(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tried = tokenizer.encode(TRIED)
    except Exception as error:  # the library raises nothing more precise
        raise UnreadableError(f"it is no tokenizer: {str(error)[:200]}") from error
    added = [bool(mask) for mask in tried.special_tokens_mask]
    ends = bool(added) and added[-1]
    return TokenizerFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        size=size,
        kind=type(tokenizer.model).__name__,
        normalisers=_normalisers(tokenizer),
        joins_forms=_ids(tokenizer, "NFC") == _ids(tokenizer, "NFD"),
        vocabulary=tokenizer.get_vocab_size(with_added_tokens=True),
        highest_id=_highest_id(tokenizer),
        first=tried.tokens[0] if added and added[0] else "",
        last=tried.tokens[-1] if ends else "",
        last_id=tried.ids[-1] if ends else None,
    )


def _highest_id(tokenizer: Tokenizer) -> int:
    """Return the highest id; as a rule there are no gaps, and no need for a table of all."""
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if all(tokenizer.id_to_token(number) is not None for number in range(size)):
        return size - 1
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def _ids(tokenizer: Tokenizer, form: Any) -> list[int]:
    return list(tokenizer.encode(unicodedata.normalize(form, COMPOSED)).ids)


def _normalisers(tokenizer: Tokenizer) -> tuple[str, ...]:
    import json

    if tokenizer.normalizer is None:
        return ()
    described: dict[str, Any] = json.loads(tokenizer.normalizer.__getstate__())
    parts = described.get("normalizers", [described])
    return tuple(str(part.get("type")) for part in parts)
