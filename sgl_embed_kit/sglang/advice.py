"""What is known of flags that people write and SGLang does not take: flag_advice.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sgl_embed_kit.data_files import data_file


@dataclass(frozen=True)
class Invented:
    """A flag that never existed: the one to use, and why; names without dashes before."""

    instead: str
    why: str
    source: str


@dataclass(frozen=True)
class Renamed:
    """A flag that a release took away: its new name, and the first release without it."""

    now: str
    gone_in: str
    source: str


@dataclass(frozen=True)
class Useless:
    """A flag that does nothing for an embedding server: what it is about instead."""

    why: str
    source: str


@dataclass(frozen=True)
class Advice:
    """All that is known, by the flag's name without dashes before it."""

    never_existed: dict[str, Invented]
    renamed: dict[str, Renamed]
    for_generation: dict[str, Useless]
    set_by_profile: dict[str, str]


@cache
def advice() -> Advice:
    """Return what is known of flags."""
    data = data_file(__package__, "flag_advice.yaml")
    return Advice(
        never_existed={name: Invented(**entry) for name, entry in data["never_existed"].items()},
        renamed={name: Renamed(**entry) for name, entry in data["renamed"].items()},
        for_generation={name: Useless(**entry) for name, entry in data["for_generation"].items()},
        set_by_profile=data["set_by_profile"],
    )
