"""Which log somebody means: of a server that runs, or of the last of that name that ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import last_log, log_folder
from sgl_embed_kit.launch.selection import NotRunningError, the_one
from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.profile import load_profile


def choose_log(servers: Sequence[ServerRecord], name: str) -> tuple[Path, Callable[[], bool]]:
    """Return a server's log, and what says whether nothing will be added to it any more.

    Args:
        servers: Those that run.
        name: A served name, profile, port or process id; of one that ended, a served name or
            a profile.

    Raises:
        KitError: there is no such log.
        UsageError: several servers that run are called so.
    """
    try:
        record = the_one(servers, name, "logs")
    except NotRunningError:
        log = last_log(name) or _last_log_of_profile(name)
    else:
        if record.log:
            return Path(record.log), lambda: not record.is_running
        log = last_log(record.name)
    if log is None:
        raise KitError(
            f"There is no log of a server {name!r}.",
            why="None runs that is called so, and none of that name has left a log.",
            cure=f"ls -t {log_folder()}",
        )
    return log, lambda: True


def _last_log_of_profile(reference: str) -> Path | None:
    """Return the newest log of the model that a profile serves; logs bear its name."""
    with suppress(KitError):
        return last_log(load_profile(reference).model.name)
    return None
