"""What can be said of a server's start before it: how long it may take, what will be served."""

from __future__ import annotations

from dataclasses import dataclass

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.readiness import probe_tokens
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import served_fingerprint
from sgl_embed_kit.plan.start import start_time


@dataclass(frozen=True)
class StartLimit:
    """The longest that a start may take.

    Attributes:
        seconds: How long.
        because: Who says so, or the arithmetic.
    """

    seconds: float
    because: str


def start_limit(subject: Subject) -> StartLimit:
    """Return how long the start of a subject's server may take."""
    said = subject.profile.launch.timeout_seconds
    if said != "auto":
        return StartLimit(said, "launch.timeout_seconds")
    longest = subject.settled(subject.profile).limits.context_length
    if longest is None and subject.shape is not None:
        longest = subject.shape.positions
    allowed = start_time(
        subject.shape,
        is_cpu=subject.profile.hardware.device == "cpu",
        is_here=subject.folder is not None,
        probe_tokens=probe_tokens(subject.profile, longest or 0),
    )
    return StartLimit(allowed.seconds, str(allowed))


def vectors_fingerprint(subject: Subject) -> str | None:
    """Return the name of the vectors that a subject's server will make.

    None where its files are not here, or something in them speaks against it.
    """
    if subject.folder is None:
        return None
    try:
        return served_fingerprint(
            local_files(subject.folder),
            subject.folders.facts(subject.folder),
            dtype=subject.profile.model.dtype,
            guarded=subject.profile.guard.enabled,
        )
    except KitError:
        return None
