"""Folders: where the toolkit keeps what it makes, and paths as people write them."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sgl_embed_kit.errors import KitError


def cache_folder() -> Path:
    """Folder for things that can be made or fetched again, such as the demo model."""
    return _folder("SGL_EMBED_CACHE", "XDG_CACHE_HOME", Path(".cache"))


def state_folder() -> Path:
    """Folder for what tells about servers that ran, such as their logs."""
    return _folder("SGL_EMBED_STATE", "XDG_STATE_HOME", Path(".local") / "state")


def log_folder() -> Path:
    """Folder of the logs of servers."""
    return state_folder() / "logs"


def log_name(server: str) -> str:
    """Return how the names of a server's logs begin."""
    safe = "".join(char if char.isalnum() or char in "-._" else "-" for char in server)
    return f"{safe}-"


def last_log(server: str) -> Path | None:
    """Return the newest log of a server by its name, or None where there is none."""
    name = re.compile(rf"{re.escape(log_name(server))}\d+-\d+-\d+\.log")
    own = [log for log in log_folder().glob("*.log") if name.fullmatch(log.name)]
    return max(own, key=lambda log: log.stat().st_mtime, default=None)


def with_home(path: str) -> Path:
    """Return a path with the home folder for a `~`; of an unknown user, as it is written."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def expand_home(path: str, env: Mapping[str, str]) -> str:
    """Return a path as os.path.expanduser makes it in a process with these variables."""
    home = env.get("HOME")
    if home is None or not (path == "~" or path.startswith("~/")):
        return os.path.expanduser(path)  # noqa: PTH111 - which leaves an unknown user as it is
    return f"{home.rstrip('/')}{path[1:]}" or "/"


def _folder(own: str, xdg: str, under_home: Path) -> Path:
    if named := os.environ.get(own):
        return Path(named).absolute()
    if base := os.environ.get(xdg):
        return Path(base).absolute() / "sgl-embed"
    return Path.home() / under_home / "sgl-embed"


@contextmanager
def complete_or_absent(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` only if the block succeeds.

    The folder lies beside `target`, so that the last step is one rename. Whatever
    ends the block, an exception or Ctrl-C among them, leaves either the whole
    `target` or nothing. Where another process finished `target` first, its result
    stays and ours is dropped: both are made from the same pinned content. What a
    killed process left half-made is removed first.

    Raises:
        KitError: the folder cannot be written.
    """
    import psutil  # late: most commands only ask where a folder is

    work = target.parent / f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.partial"
    for left in target.parent.glob(f".{target.name}.*.partial"):
        owner = left.name.removeprefix(f".{target.name}.").split(".")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    try:
        work.mkdir(parents=True)
    except OSError as error:
        raise KitError(
            f"{target.parent} cannot be written.",
            why=error.strerror or str(error),
            cure="SGL_EMBED_CACHE=/a/folder/you/own sgl-embed …",
        ) from error
    try:
        yield work
        try:
            work.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
