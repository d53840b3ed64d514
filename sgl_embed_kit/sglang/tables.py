"""Which flag table a profile is judged by: the installed SGLang's, or a shipped one."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from sgl_embed_kit.folders import cache_folder
from sgl_embed_kit.sglang.flag_history import known_releases, table_of
from sgl_embed_kit.sglang.flags import FlagTable, read_flags
from sgl_embed_kit.sglang.installed import Installed
from sgl_embed_kit.sglang.versions import VersionRange


def table_for(version: str | None, installed: Installed | None) -> FlagTable:
    """Return the flag table to judge a profile by.

    Args:
        version: The profile's `sglang.version`, or None.
        installed: The SGLang of this environment, or None. Where there is none, or it is
            not of the versions that the profile is for, the newest known release of them
            is taken, else the nearest known one before them.
    """
    wanted = VersionRange(version) if version else None
    if installed is not None and (wanted is None or installed.version in wanted):
        return installed_table(installed)
    known = [release for release in known_releases() if wanted is None or release in wanted]
    named = known[-1] if known or wanted is None else wanted.named
    table = table_of(named) or table_of(known_releases()[0])
    assert table is not None
    return table


@cache
def installed_table(installed: Installed) -> FlagTable:
    """Return the table of the installed SGLang, from the cache where `keep_table` put it."""
    try:
        return msgspec.json.decode(_cache_file(installed).read_bytes(), type=FlagTable)
    except (OSError, msgspec.MsgspecError):
        return read_flags(installed.package, installed.version)


def keep_table(installed: Installed) -> None:
    """Keep the installed SGLang's table in the cache; a cache that cannot be written is none."""
    file = _cache_file(installed)
    if file.exists():
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        work = file.with_suffix(".partial")
        work.write_bytes(msgspec.json.encode(installed_table(installed)))
        work.replace(file)


def _cache_file(installed: Installed) -> Path:
    """Name the cache by version and by the newest file that declares or reads flags."""
    declaring = [installed.package / "srt" / "server_args.py", *Path(__file__).parent.glob("*.py")]
    declaring += (installed.package / "srt" / "arg_groups").rglob("*.py")
    newest = max(file.stat().st_mtime_ns for file in declaring)
    return cache_folder() / "flags" / f"{installed.version}-{newest}.json"
