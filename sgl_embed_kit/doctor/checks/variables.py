"""Cures that set a variable of the server, or unset it: where its value comes from."""

from __future__ import annotations

import shlex

from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.profile.patch import patch


def set_variable(subject: Subject, name: str, value: str) -> str:
    """Return the cure that gives a variable a value: the profile's own comes before others."""
    if name in subject.profile.env:
        return patch(env={name: value})
    return f"export {name}={shlex.quote(value)}"


def unset_variable(subject: Subject, name: str, nothing: str = "") -> str:
    """Return the cure that takes a variable away.

    Args:
        subject: What the checks look at.
        name: The variable.
        nothing: The value in a profile that means as much as none.
    """
    if name in subject.profile.env:
        return patch(env={name: nothing})
    return f"unset {name}"
