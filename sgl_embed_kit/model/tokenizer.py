"""What a tokenizer does to a text: really tried, with the library that SGLang's uses."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

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


class _Added(msgspec.Struct):
    """A token that a tokenizer has besides its model's."""

    id: int
    content: str


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
        declared = _declared(content)
        tokenizer = Tokenizer.from_buffer(declared.to_try)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tried = tokenizer.encode(TRIED)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises nothing more precise, and panics
        raise UnreadableError(f"it is no tokenizer: {str(error)[:200]}") from error
    added = [bool(mask) for mask in tried.special_tokens_mask]
    ends = bool(added) and added[-1]
    return TokenizerFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        size=size,
        kind=type(tokenizer.model).__name__,
        normalisers=_normalisers(tokenizer),
        joins_forms=_ids(tokenizer, "NFC") == _ids(tokenizer, "NFD"),
        vocabulary=declared.tokens,
        highest_id=declared.highest_id,
        first=tried.tokens[0] if added and added[0] else "",
        last=tried.tokens[-1] if ends else "",
        last_id=tried.ids[-1] if ends else None,
    )


@dataclass(frozen=True)
class _Declared:
    """A tokenizer's file: its tokens, the highest id of one, and what to load for a trial."""

    tokens: int
    highest_id: int
    to_try: bytes


def _declared(content: bytes) -> _Declared:
    """Read a tokenizer.json, and make of a BPE one that loads fast.

    Of 150 000 tokens with as many merges the library makes tables of 120 MB, which only say
    how a word is cut. What comes before and after the text does not depend on that: without
    merges a text becomes its single characters, through the same normaliser and processor.

    Raises:
        ValueError: it is not a tokenizer's file; a merge is not of two tokens that make one.
    """
    file = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    added = msgspec.json.decode(file.get("added_tokens", b"[]"), type=list[_Added])
    model = msgspec.json.decode(file["model"], type=dict[str, msgspec.Raw])
    if "merges" not in model:  # WordPiece, Unigram and WordLevel load fast as they are
        return _counted(_ids_of(content), added, content)
    vocabulary = msgspec.json.decode(model["vocab"], type=dict[str, int])
    merges = msgspec.json.decode(model["merges"], type=list[str | tuple[str, str]])
    prefix = msgspec.json.decode(model.get("continuing_subword_prefix", b'""'), type=str | None)
    _check_merges(merges, prefix or "", vocabulary)
    # What no merge makes: characters, and bytes as <0x0A>.
    kept = {token: n for token, n in vocabulary.items() if len(token) == 1 or token[:3] == "<0x"}
    model |= {"vocab": msgspec.Raw(msgspec.json.encode(kept)), "merges": msgspec.Raw(b"[]")}
    file["model"] = msgspec.Raw(msgspec.json.encode(model))
    return _counted(vocabulary, added, msgspec.json.encode(file))


def _check_merges(
    merges: list[str | tuple[str, str]], prefix: str, vocabulary: dict[str, int]
) -> None:
    """Refuse merges that the library would refuse.

    Raises:
        ValueError: a merge is not of two tokens that make one.
    """
    cut = len(prefix)
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if (
            left not in vocabulary
            or right not in vocabulary
            or left + right[cut:] not in vocabulary
            or (cut and not right.startswith(prefix))
        ):
            raise ValueError(f"a merge names tokens that it does not have: {left} {right}"[:200])


def _ids_of(content: bytes) -> dict[str, int]:
    from tokenizers import Tokenizer

    return Tokenizer.from_buffer(content).get_vocab(with_added_tokens=True)


def _counted(vocabulary: dict[str, int], added: list[_Added], to_try: bytes) -> _Declared:
    more = {token.content: token.id for token in added}
    highest = max(max(vocabulary.values(), default=-1), max(more.values(), default=-1))
    return _Declared(len(vocabulary) + len(more.keys() - vocabulary.keys()), highest, to_try)


def _ids(tokenizer: Tokenizer, form: Any) -> list[int]:
    return list(tokenizer.encode(unicodedata.normalize(form, COMPOSED)).ids)


def _normalisers(tokenizer: Tokenizer) -> tuple[str, ...]:
    import json

    if tokenizer.normalizer is None:
        return ()
    described: dict[str, Any] = json.loads(tokenizer.normalizer.__getstate__())
    parts = described.get("normalizers", [described])
    return tuple(str(part.get("type")) for part in parts)
