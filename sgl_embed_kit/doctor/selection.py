"""Which checks run, which are ignored, and the ids that people mistype."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from sgl_embed_kit.doctor.catalogue import LIVE, About, catalogue
from sgl_embed_kit.doctor.engine import Check, S
from sgl_embed_kit.errors import UsageError


def about_of(name: str) -> About:
    """Return the check that an id, a name or a title means, in any case.

    Raises:
        UsageError: no check has it.
    """
    wanted = name.strip().upper()
    found = _by_word().get(wanted)
    if found is not None:
        return found
    near = dict.fromkeys(_nearest(wanted, 5))
    raise UsageError(
        f"There is no check {name.strip()!r}.",
        why=f"The nearest are {', '.join(f'{a.id} ({a.name})' for a in near)}.",
        cure=f"sgl-embed explain {next(iter(near)).id}",
    )


def nearest(name: str) -> str:
    """Return the id that was probably meant, else the first of all."""
    return _nearest(name.upper(), 1)[0].id


def _nearest(wanted: str, most: int) -> list[About]:
    words = _by_word()
    return [words[word] for word in difflib.get_close_matches(wanted, words, most, cutoff=0.0)]


def _by_word() -> dict[str, About]:
    """Return each check by all that it may be called, in capitals."""
    return {
        word.upper(): about
        for about in catalogue().values()
        for word in (about.id, about.name, about.title)
    }


def only(checks: Sequence[Check[S]], names: Iterable[str]) -> tuple[Check[S], ...]:
    """Return the checks that were asked for; all of them where none was.

    Raises:
        UsageError: a name means no check, or one of another kind than these.
    """
    wanted = {about_of(name).id for name in names}
    others = sorted(wanted - {check.id for check in checks})
    if others:
        is_live = catalogue()[others[0]].category == LIVE
        raise UsageError(
            f"{' and '.join(others)} cannot run here.",
            why="It asks a server that runs." if is_live else "It looks at a machine.",
            cure="sgl-embed doctor --url URL" if is_live else "sgl-embed doctor PROFILE",
        )
    return tuple(check for check in checks if not wanted or check.id in wanted)
