"""Checks of the keys that the profile asks for."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.profile.keys import read_keys


def keys(subject: Subject) -> Finding:
    """Look whether the keys of the profile can be read."""
    server = subject.profile.server
    if not server.keys:
        return Finding(Status.OK, "the profile asks for no key")
    try:
        read_keys(server.keys, subject.machine.environment())
    except KitError as error:
        what = error.what.rstrip(".")
        return Finding(Status.ERROR, f"{what}: {error.why}", "the key of the profile", error.cure)
    return Finding(Status.OK, f"{' and '.join(server.keys)} can be read")
