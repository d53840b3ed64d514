"""The tree of processes, and its end."""

import os
import subprocess
import sys

import psutil

from sgl_embed_kit.launch.processes import below, parents

CHAIN = """
import os, time
for _ in range(20):
    if os.fork():
        break
print(flush=True)
time.sleep(60)
"""
"""Twenty-one processes, each the parent of the next."""


def test_who_started_whom_is_what_psutil_says() -> None:
    assert parents()[os.getpid()] == os.getppid()


def test_all_below_are_found_and_killed_at_once_and_nobody_beside_them() -> None:
    argv = [sys.executable, "-S", "-c", CHAIN]
    code = (
        "import ctypes, os, subprocess, sys\n"
        "from sgl_embed_kit.launch.processes import kill_below\n"
        "ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER\n"
        f"chain = subprocess.Popen({argv!r}, stdout=subprocess.PIPE)\n"
        "[chain.stdout.readline() for _ in range(21)]\n"
        "print('up', flush=True); sys.stdin.read(1); kill_below(os.getpid()); chain.wait()"
    )
    beside = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as root:
        assert root.stdout is not None
        assert root.stdout.readline() == "up\n"
        found = [psutil.Process(pid) for pid in below(root.pid)]
        assert len(found) == 21
        root.communicate("k", timeout=30)
        assert root.returncode == 0
    assert psutil.wait_procs(found, timeout=10)[1] == []
    assert beside.poll() is None
    beside.kill()
    beside.wait()
