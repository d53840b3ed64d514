"""Live checks of the vectors themselves, by a few short texts that are asked for."""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

from sgl_embed_kit.client.errors import BadAnswerError
from sgl_embed_kit.client.wire import decode_vectors
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import READ_THE_LOG, LiveError, LockedError, Text, quoted
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.guard.declared import Pooling
from sgl_embed_kit.profile.patch import patch

NORM_TOLERANCE = 0.002
"""bfloat16 leaves norms at 1 ± 0.001."""
SAME = 0.999
"""Least cosine of two vectors of one text. In bfloat16 SGLang and transformers agreed to 0.9998
on a CPU; a MiniLM that was pooled by the wrong token had 0.86 or less."""
ACCENTS = "Où est la bibliothèque? Äpfel, café, piñata"


def first(subject: LiveSubject) -> Finding:
    """Look whether a text gets a vector, of the dimension that the profile says."""
    try:
        dimension = subject.first_vector.size
    except LockedError as error:
        return error.finding
    except LiveError as error:
        told = error.finding
        return Finding(
            Status.ERROR, told.found, told.needed or "a vector", told.fix or READ_THE_LOG
        )
    found = f"a text gets a vector of {dimension} dimensions"
    wanted = subject.profile.embedding.dimensions if subject.profile else None
    if wanted is not None and wanted != dimension:
        return Finding(
            Status.ERROR,
            found,
            f"{wanted}, as the profile says",
            patch(embedding={"dimensions": dimension}),
        )
    return Finding(Status.OK, found)


def norm(subject: LiveSubject) -> Finding:
    """Look whether the vectors have length 1."""
    vectors = _vectors(subject, list(subject.canaries))
    norms = np.linalg.norm(vectors, axis=1)
    worst = float(norms[np.abs(norms - 1).argmax()])
    found = f"norms within {abs(worst - 1):.4f} of 1"
    if abs(worst - 1) > NORM_TOLERANCE:
        return Finding(
            Status.ERROR,
            f"a vector has the norm {worst:.4f}",
            f"1 ± {NORM_TOLERANCE}: SGLang normalises all vectors of embedding models",
            "sgl-embed model show PATH  # says whether the model is one of embeddings",
        )
    return Finding(Status.OK, found)


def repeat(subject: LiveSubject) -> Finding:
    """Look whether a text gets the same vector when it is asked for again."""
    text = subject.canaries[0]
    return _same(
        _vectors(subject, [text])[0],
        _first(subject),
        "the same text, asked for again, gets the same vector",
        "the same text, asked for again, gets another vector",
        "sgl-embed launch PROFILE  # or --disable-radix-cache on its command",
    )


def batch(subject: LiveSubject) -> Finding:
    """Look whether a text gets the same vector in a batch as alone."""
    together = _vectors(subject, list(subject.canaries))
    alone = [_vectors(subject, [text])[0] for text in subject.canaries]
    pairs = list(zip(together, alone, strict=True))
    one, other = min(pairs, key=lambda pair: _cosine(*pair))
    return _same(
        one,
        other,
        f"{len(together)} texts get the same vectors in a batch as alone",
        "a text gets another vector in a batch than alone",
        "sgl-embed launch PROFILE  # or --chunked-prefill-size -1 on its command",
    )


def base64(subject: LiveSubject) -> Finding:
    """Look whether base64 is honoured, and gives the same vector as JSON numbers."""
    expected = _first(subject)
    if _cosine(expected, _vectors(subject, [subject.canaries[0]])[0]) < SAME:
        return Finding(Status.SKIP, "a text gets another vector each time it is asked for")
    answer = subject.ask_embeddings([subject.canaries[0]], encoding="base64")
    answer.expect_ok()
    try:
        vector = decode_vectors(answer.body, 1)[0].astype(np.float64)
    except BadAnswerError as error:
        return Finding(
            Status.ERROR,
            f"an answer in base64 gives no vector: {quoted(f'{error.what} {error.why}')}",
            "little-endian float32, as of OpenAI",
            answer.shown_by,
        )
    if b'"embedding":[' in answer.body.replace(b" ", b""):
        return Finding(
            Status.WARN,
            "base64 is not honoured: JSON numbers come, at four times the bytes",
            "SGLang 0.5.18 or newer",
            "pip install 'sgl-embed-kit[server]'  # where the server runs",
        )
    return _same(
        vector,
        expected,
        "base64 and JSON numbers give the same vector",
        "base64 gives another vector than JSON numbers",
        answer.shown_by,
    )


def nfc(subject: LiveSubject) -> Finding:
    """Look whether two Unicode forms of a text get the same vector."""
    text = f"{subject.nonce} {ACCENTS}"
    _first(subject)
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    composed, decomposed = _vectors(subject, forms)
    cosine = _cosine(composed, decomposed)
    if cosine < SAME:
        return Finding(
            Status.INFO,
            "the composed (NFC) and the decomposed (NFD) form of a text get different "
            f"vectors: cosine {cosine:.3f}",
            "texts in one form",
            "unicodedata.normalize('NFC', text), as EmbeddingClient does",
        )
    return Finding(Status.OK, "both Unicode forms (NFC, NFD) of a text get the same vector")


def last_id(subject: LiveSubject) -> Finding:
    """Look whether the tokenizer ends each text with the token that is pooled."""
    architecture = subject.architecture
    if architecture is not None and architecture.pooling is not Pooling.LAST:
        return Finding(Status.OK, f"{architecture.name} does not pool by the last token")
    texts = [text.strip() for text in subject.canaries[:2]]
    ends = [subject.tokens(text)[-1:] for text in texts]
    bare = [subject.tokens(text, add_special_tokens=False)[-1:] for text in texts]
    if ends[0] and ends[0] == ends[1] and ends != bare:
        return Finding(Status.OK, f"every text ends with {_named(subject, ends[0])}")
    return Finding(
        Status.ERROR if architecture is not None else Status.INFO,
        "the tokenizer puts no token at the end of a text, where the vector is taken from",
        "an end token, such as <|endoftext|> of Qwen3-Embedding",
        "sgl-embed doctor PROFILE --only tokenizer  # says what is wrong with the model's files",
    )


def _named(subject: LiveSubject, ids: list[int]) -> str:
    content = {"model": subject.served_name, "tokens": ids, "skip_special_tokens": False}
    try:
        text = subject.server.ask("POST", "/v1/detokenize", content).read(Text).text
    except LiveError:
        return f"the id {ids[0]}"
    return f"{quoted(text)} (id {ids[0]})"


def _first(subject: LiveSubject) -> NDArray[np.float64]:
    """Return the first canary's vector; that there is none is told by one check alone."""
    try:
        return subject.first_vector
    except LiveError as error:
        raise LiveError(Finding(Status.SKIP, "there are no vectors to look at")) from error


def _vectors(subject: LiveSubject, texts: list[str]) -> NDArray[np.float64]:
    _first(subject)
    return subject.embed(texts)


def _same(
    one: NDArray[np.float64], other: NDArray[np.float64], same: str, differs: str, fix: str
) -> Finding:
    if one.shape != other.shape:
        return Finding(
            Status.ERROR, f"{differs}: {one.size} and {other.size} dimensions", "as many", fix
        )
    cosine = _cosine(one, other)
    if cosine < SAME:
        return Finding(Status.ERROR, f"{differs}: cosine {cosine:.4f}", f"{SAME} or more", fix)
    return Finding(Status.OK, f"{same} (cosine {cosine:.4f})")


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the cosine of two vectors; 0 for zeros, and for vectors of unlike lengths."""
    if one.shape != other.shape or not one.any() or not other.any():
        return 0.0
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
