"""Live checks at a server's limits: what is too long, what is just not, what is poison.

These could stall or end a server without a guard. They run alone, after all others.
"""

from __future__ import annotations

from http import HTTPStatus

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.live.answers import READ_THE_LOG, LiveError
from sgl_embed_kit.doctor.live.model import pool_tokens
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.profile.patch import patch

LONGEST_SECONDS = 60.0
AFTERWARDS_SECONDS = 10.0
MOST_TOKENS = 131_072
"""A longer text than this is not sent, whatever the context: it would be a megabyte."""
SPARE = 8
"""Tokens below the context that are left free: the scheduler takes six fewer than the
tokenizer manager lets in (max_req_input_len, srt/managers/scheduler.py)."""
WORD = " apple"
UNSENT = "; --intrusive sends it"


def too_long(subject: LiveSubject) -> Finding:
    """Look whether a text that is too long gets an error, and the server still answers."""
    length = _context(subject)
    if not subject.is_intrusive:
        pool = pool_tokens(subject)
        if pool is None or pool < length:
            why = "the KV pool is not told" if pool is None else f"the KV pool holds {pool} tokens"
            return Finding(Status.SKIP, f"{why}: a long text could stop the server{UNSENT}")
    text, tokens = text_of(subject, length + SPARE)
    if tokens < length:
        return Finding(Status.SKIP, f"no text of {length} tokens could be made")
    answer = subject.ask_embeddings([text], seconds=LONGEST_SECONDS)
    after = _still_answers(subject)
    said = f"a text of {tokens} tokens, for {length}, gets {answer.status}"
    if after:
        return Finding(Status.ERROR, f"{said}, and then {after}", "a server that goes on", _RESTART)
    if answer.status == HTTPStatus.OK:
        return Finding(
            Status.WARN,
            f"{said}: it is cut without a word, and so is the token at its end",
            "400, and texts cut by the client",
            patch(sglang={"extra_args": {"allow-auto-truncate": False}}),
        )
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Finding(Status.ERROR, said, "400", READ_THE_LOG)
    return Finding(Status.OK, f"{said}, and the server goes on")


def longest(subject: LiveSubject) -> Finding:
    """Look whether the longest text that is allowed gets its vector."""
    if not subject.is_intrusive:
        return Finding(Status.SKIP, f"a text of the whole context takes long{UNSENT}")
    text, tokens = text_of(subject, _context(subject) - SPARE)
    try:
        answer = subject.ask_embeddings([text], seconds=LONGEST_SECONDS)
    except LiveError as error:
        after = _still_answers(subject)
        then = f"then {after}" if after else "then others are answered again"
        pool = pool_tokens(subject)
        is_short = pool is not None and pool < tokens
        return Finding(
            Status.ERROR,
            f"a text of {tokens} tokens: {error.finding.found}, {then}",
            f"its vector; a KV pool of fewer than {tokens} tokens never gives it",
            patch(limits={"context_length": pool}) if is_short else READ_THE_LOG,
        )
    if answer.status != HTTPStatus.OK:
        return Finding(
            Status.ERROR,
            f"a text of {tokens} tokens gets {answer.status}: {answer.message}",
            "its vector",
            READ_THE_LOG,
        )
    return Finding(Status.OK, f"a text of {tokens} tokens gets its vector, {answer.seconds:.1f} s")


def poison(subject: LiveSubject) -> Finding:
    """Look whether the server survives a request to generate text."""
    if not subject.is_intrusive:
        return Finding(Status.SKIP, f"a request to generate ends an open server{UNSENT}")
    if subject.info.is_generation:
        return Finding(Status.SKIP, "the server generates text")
    # One token would be made by the prefill alone; it is the second that ends a server.
    content = {"text": "Hello", "sampling_params": {"max_new_tokens": 4}}
    try:
        status = subject.server.ask("POST", "/generate", content, seconds=AFTERWARDS_SECONDS).status
        said = f"a request to generate gets {status}"
    except LiveError:
        status, said = None, "a request to generate gets no answer"
    after = _still_answers(subject)
    if after:
        return Finding(Status.ERROR, f"{said}, and then {after}", "a server that goes on", _RESTART)
    if status is None or not 400 <= status < 500:  # noqa: PLR2004
        return Finding(Status.ERROR, said, "400", _RESTART)
    return Finding(Status.OK, f"{said}, and the server goes on")


_RESTART = "sgl-embed launch PROFILE  # starts it anew, with the guard, which refuses this"


def _context(subject: LiveSubject) -> int:
    length = subject.card.max_model_len
    if length is None:
        raise LiveError(Finding(Status.SKIP, "/v1/models does not say the context length"))
    if length > MOST_TOKENS:
        raise LiveError(Finding(Status.SKIP, f"a context of {length} tokens is too long to try"))
    return length


def text_of(subject: LiveSubject, wanted: int) -> tuple[str, int]:
    """Return a text of at most `wanted` tokens, or hardly fewer, and how many it has.

    Counted by the server's own tokenizer.

    Raises:
        LiveError: the server does not tokenize.
    """
    one, many = (len(subject.tokens(WORD * words)) for words in (1, 65))
    per_word = max(1.0, (many - one) / 64)
    text = WORD * max(1, int((wanted - one) / per_word) + 1)
    return text, len(subject.tokens(text))


def _still_answers(subject: LiveSubject) -> str:
    """Say what is wrong with a server that does not answer any more; empty where it does."""
    try:
        subject.embed(["still here?"], seconds=AFTERWARDS_SECONDS)
    except LiveError as error:
        return error.finding.found
    return ""
