"""Which checks run, which are ignored, and the ids that people mistype."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from sgl_embed_kit.doctor.catalogue import About, catalogue
from sgl_embed_kit.doctor.engine import Check
from sgl_embed_kit.errors import UsageError


def about_of(name: str) -> About:
    """Return the check that an id or a name means, in any case.

    Raises:
        UsageError: no check has it.
    """
    wanted = name.strip().upper()
    for about in catalogue().values():
        if wanted in {about.id, about.name.upper()}:
            return about
    raise UsageError(
        f"There is no check {name.strip()!r}.",
        why=f"The checks are {', '.join(catalogue())}.",
        cure=f"sgl-embed explain {nearest(wanted)}",
    )


def nearest(name: str) -> str:
    """Return the id that was probably meant, else the first of all."""
    return difflib.get_close_matches(name, catalogue(), n=1, cutoff=0.0)[0]


def only(checks: Sequence[Check], names: Iterable[str]) -> tuple[Check, ...]:
    """Return the checks that were asked for; all of them where none was.

    Raises:
        UsageError: a name means no check.
    """
    wanted = {about_of(name).id for name in names}
    return tuple(check for check in checks if not wanted or check.id in wanted)
