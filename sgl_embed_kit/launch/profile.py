"""Read a profile to run it: also its flags are checked, against the SGLang that will run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sgl_embed_kit.profile import Loaded, read_profile
from sgl_embed_kit.profile.rules import Fault
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

    def flags(data: Mapping[str, Any]) -> Iterator[Fault]:
        wanted = data["sglang"].get("version") if isinstance(data.get("sglang"), dict) else None
        with suppress(ValueError):  # a version of another form is the schema's to refuse
            table = table_for(wanted if isinstance(wanted, str) else None, installed)
            yield from argument_faults(data, table)

    return read_profile(reference, settings, allow_unsafe=allow_unsafe, also=flags)
