"""The flag tables of past releases, shipped as data: each flag once, with its releases.

`tools/snapshot_flags.py` writes the file from the wheels on PyPI. With it a profile can
be checked for a version that is not installed, and an error can say which release has a
flag.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

from sgl_embed_kit.sglang.flags import Flag, FlagTable
from sgl_embed_kit.sglang.versions import release_of

HISTORY_FILE = Path(__file__).parent / "flag_history.json"


class _Entry(msgspec.Struct, omit_defaults=True):
    """A flag, and the releases that have it in just this form, by their index."""

    flag: Flag
    releases: list[int]


class _History(msgspec.Struct):
    releases: list[str]
    flags: list[_Entry]


def encode_history(tables: Sequence[FlagTable]) -> bytes:
    """Return the file's content for the tables of some releases, oldest first.

    Help texts are left out: they are SGLang's prose, and the installed release has them.
    """
    entries: dict[Flag, list[int]] = {}
    for index, table in enumerate(tables):
        for flag in table.flags:
            entries.setdefault(dataclasses.replace(flag, help=""), []).append(index)
    ordered = sorted(entries.items(), key=lambda entry: (entry[0].names, entry[1]))
    history = _History(
        releases=[table.version for table in tables],
        flags=[_Entry(flag, releases) for flag, releases in ordered],
    )
    lines = [msgspec.json.encode(entry) for entry in history.flags]
    head = msgspec.json.encode(history.releases)
    return b'{"releases": %s,\n"flags": [\n%s\n]}\n' % (head, b",\n".join(lines))


def known_releases() -> tuple[str, ...]:
    """Return the releases whose tables are known, oldest first."""
    return tuple(_history().releases)


def table_of(version: str) -> FlagTable | None:
    """Return the table of a release, or of the newest known one before it.

    None where the version is older than every known release.
    """
    history = _history()
    not_newer = [
        index
        for index, release in enumerate(history.releases)
        if release_of(release) <= release_of(version)
    ]
    if not not_newer:
        return None
    index = not_newer[-1]
    flags = tuple(entry.flag for entry in history.flags if index in entry.releases)
    return FlagTable(history.releases[index], flags)


def releases_with(name: str) -> tuple[str, ...]:
    """Return the known releases that have a flag of this name, oldest first."""
    history = _history()
    indices = {
        index for entry in history.flags if name in entry.flag.names for index in entry.releases
    }
    return tuple(history.releases[index] for index in sorted(indices))


@cache
def _history() -> _History:
    return msgspec.json.decode(HISTORY_FILE.read_bytes(), type=_History)
