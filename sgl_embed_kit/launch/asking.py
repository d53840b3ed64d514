"""Ask a server by its address, whoever started it, whether it is up and ready."""

from __future__ import annotations

import time

from sgl_embed_kit.doctor.live.answers import LiveError, quoted
from sgl_embed_kit.doctor.live.subject import LiveSubject
from sgl_embed_kit.launch.status import AnswerJson


def ask(subject: LiveSubject) -> AnswerJson:
    """Ask a server whether it is up, and for an embedding: that is what ready means."""
    told = AnswerJson(
        url=subject.url,
        up=False,
        ready=False,
        model=None,
        dimension=None,
        sglang=None,
        milliseconds=None,
        why_not="",
    )
    try:
        subject.contact()
        told.up = True
        told.sglang = subject.release
        told.model = _model(subject)
        began = time.perf_counter()
        told.dimension = subject.embed(subject.canaries[:1]).shape[1]
        told.milliseconds = round((time.perf_counter() - began) * 1000, 1)
        told.ready = True
    except LiveError as error:
        told.why_not = subject.mask(error.finding.found)
    return told


def _model(subject: LiveSubject) -> str | None:
    try:
        return subject.mask(quoted(subject.card.id))
    except LiveError:
        return None  # it wants a key, or a gateway does not let the question through
