"""Ways to run a program as process 1 of a namespace, as a container does."""

from __future__ import annotations

import subprocess
import sys

AS_ROOT = ("unshare", "--fork", "--pid", "--mount-proc")
AS_USER = ("unshare", "--user", "--map-root-user", "--fork", "--pid", "--mount-proc")

BELIEVED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1)  # orphans come to it (PR_SET_CHILD_SUBREAPER)
believer = os.getpid()
own = os.getpid
os.getpid = lambda: 1 if own() == believer else own()
argv = sys.argv[3:]
sys.argv = ["-c", *argv[1:]]
exec(argv[0])
"""
"""Runs `python -c CODE` in a process that takes itself for process 1."""


def process_1(way: str) -> list[str]:
    """Return what to put before `PYTHON -c CODE` so that it is process 1."""
    if way == "believed":
        return [sys.executable, "-c", BELIEVED]
    return list(_namespace() or ())


def _namespace() -> tuple[str, ...] | None:
    """Return a command that makes a process namespace, if this user may have one."""
    for command in (AS_ROOT, AS_USER):
        try:
            done = subprocess.run([*command, "true"], capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return command
    return None


WAYS_TO_BE_PROCESS_1 = ["believed", *(["namespace"] if _namespace() else [])]
"""The second is the real one; where it is not allowed, the first has to do."""
