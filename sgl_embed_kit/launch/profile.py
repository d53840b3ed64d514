"""Read a profile to run it: checked against its model and the SGLang that will run, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import yaml

from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.selection import nearest
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.model.bounds import bounds_or_none
from sgl_embed_kit.model.folder import Folders
from sgl_embed_kit.model.source import locate
from sgl_embed_kit.plan.limits import beyond_model
from sgl_embed_kit.profile import Loaded, Profile, read_profile
from sgl_embed_kit.profile.rules import Fault, contradictions
from sgl_embed_kit.sglang.command import argument_faults
from sgl_embed_kit.sglang.installed import Installed
from sgl_embed_kit.sglang.tables import table_for


def read_runnable(
    reference: str,
    settings: Sequence[str],
    installed: Installed | None,
    *,
    allow_unsafe: bool = False,
    folders: Folders | None = None,
) -> Loaded:
    """Load a profile; check it against its model, its flags against the release that runs.

    Args:
        reference: A file, or the bare name of a bundled profile.
        settings: KEY=VALUE each, put over what the files say.
        installed: The SGLang of this environment.
        allow_unsafe: Whether keys that could run foreign code are allowed.
        folders: Keeps what is read of the model's folder.

    Raises:
        ProfileError: there is no such profile, or it cannot be used.
    """

    def flags(data: Mapping[str, Any]) -> Iterator[Fault]:
        wanted = data["sglang"].get("version") if isinstance(data.get("sglang"), dict) else None
        with suppress(ValueError):  # a version of another form is the schema's to refuse
            table = table_for(wanted if isinstance(wanted, str) else None, installed)
            yield from argument_faults(data, table)

    return read_profile(
        reference,
        settings,
        allow_unsafe=allow_unsafe,
        check_content=flags,
        check_profile=lambda profile: _misfits(profile, folders),
    )


def faults_of_text(text: str) -> list[str]:
    """Return what is wrong in a profile that the toolkit itself has just written."""
    profile = Profile.model_validate(yaml.safe_load(text))
    faults = [*contradictions(profile), *_beyond_its_model(profile)]
    return [fault for _, fault in faults]


def _misfits(profile: Profile, folders: Folders | None) -> Iterator[Fault]:
    yield from _beyond_its_model(profile, folders)
    for name in profile.doctor.ignore:
        if name not in catalogue():
            place = ("doctor", "ignore", name)
            yield place, f"there is no check `{name}`; did you mean `{nearest(name)}`?"


def _beyond_its_model(profile: Profile, folders: Folders | None = None) -> Iterator[Fault]:
    with suppress(KitError):  # a model that is not there is the checks' to name
        bounds = bounds_or_none(locate(profile.model.path), folders)
        if bounds is not None:
            yield from beyond_model(profile, bounds)
