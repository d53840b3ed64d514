"""Records of servers, and small programs that stand in for a server and its launcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.process_id import ProcessId, process_id
from sgl_embed_kit.machine.servers import READY, Place, registered

LIMIT = 20.0


def own_id() -> ProcessId:
    """Return the id of the process that runs the tests."""
    found = process_id(os.getpid())
    assert found is not None
    return found


def record_of(
    launcher: ProcessId | None = None,
    server: ProcessId | None = None,
    *,
    name: str = "mine",
    port: int = 30000,
    host: str = "127.0.0.1",
    profile: str = "p",
    log: str = "/x.log",
    drain_seconds: float = 30.0,
    phase: str = READY,
) -> ServerRecord:
    """Return a record of a server of the tests' own process, or of others'."""
    return ServerRecord(
        launcher=launcher or own_id(),
        server=server,
        place=Place.here(),
        host=host,
        port=port,
        url=f"http://{host}:{port}",
        name=name,
        model="tiny:",
        profile=profile,
        log=log,
        drain_seconds=drain_seconds,
        phase=phase,
    )


SERVER = """
import signal, subprocess, sys, time
mode = sys.argv[1]
child = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
children = []
if mode != "alone":
    for apart in (False, True):  # the second leaves the session
        one = subprocess.Popen([sys.executable, "-c", child], stdout=-1, start_new_session=apart)
        one.stdout.readline()
        children.append(one)
if mode in ("stubborn", "orphans"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(*(one.pid for one in children), flush=True)
if mode == "orphans":
    time.sleep(0.5)
else:
    time.sleep(60)
"""
"""Prints the ids of its children. Modes: alone, family, stubborn, orphans (ends by itself)."""

LAUNCHER = """
import json, os, signal, subprocess, sys, time
server, mode, how = sys.argv[1:4]
def stop(number, frame):
    if how == "dies":
        os._exit(1)
    if how == "drains":
        time.sleep(0.5)
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()
        sys.exit(0)
if how != "deaf":
    signal.signal(signal.SIGTERM, stop)
one = subprocess.Popen([sys.executable, "-c", server, mode], stdout=-1, text=True,
                       start_new_session=True)
print(json.dumps([one.pid, *map(int, one.stdout.readline().split())]), flush=True)
time.sleep(60)
"""
"""Starts a server; SIGTERM makes it stop that ("drains"), does nothing ("hangs"), or
ends it alone, by its own doing ("dies") or the kernel's ("deaf")."""


@dataclass(frozen=True)
class StandIn:
    """A launcher, its server and the server's children, all of them small programs."""

    record: ServerRecord
    processes: tuple[psutil.Process, ...]

    @property
    def alive(self) -> list[psutil.Process]:
        """Those that run; the launcher is a child of the tests', so it may be a zombie."""
        found = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@contextmanager
def stand_in(
    mode: str = "family", how: str = "drains", drain_seconds: float = 5.0, log: str = "/x.log"
) -> Iterator[StandIn]:
    """Run a stand-in on record; nothing of it is left at the end."""
    argv = [sys.executable, "-c", LAUNCHER, SERVER, mode, how]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as launcher:
        processes = [psutil.Process(launcher.pid)]
        try:
            assert launcher.stdout is not None
            server, *children = json.loads(launcher.stdout.readline())
            processes += [psutil.Process(pid) for pid in (server, *children)]
            record = record_of(
                process_id(launcher.pid), process_id(server), drain_seconds=drain_seconds, log=log
            )
            with registered(record):
                yield StandIn(record, tuple(processes))
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def wait_until(path: Path, text: str) -> None:
    """Wait until a file holds a text."""
    deadline = time.monotonic() + LIMIT
    while text not in path.read_text():
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.02)
