"""Read a profile to run it: also its flags are checked, against the SGLang that will run."""

from __future__ import annotations

from collections.abc import Sequence

from sgl_embed_kit.profile import Loaded, read_profile
from sgl_embed_kit.profile.problems import InvalidProfileError, Problem
from sgl_embed_kit.sglang.command import argument_faults
from sgl_embed_kit.sglang.installed import Installed
from sgl_embed_kit.sglang.tables import table_for


def read_runnable(
    reference: str,
    settings: Sequence[str],
    installed: Installed | None,
    *,
    allow_unsafe: bool = False,
) -> Loaded:
    """Load a profile and check its flags against the release that will run.

    Raises:
        ProfileError: there is no such profile, or it cannot be used.
    """
    loaded = read_profile(reference, settings, allow_unsafe=allow_unsafe)
    table = table_for(loaded.profile.sglang.version, installed)
    faults = argument_faults(loaded.profile, table)
    problems = [Problem(loaded.origin_of(place), text) for place, text in faults]
    if problems:
        raise InvalidProfileError(problems)
    return loaded
