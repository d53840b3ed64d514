"""A real launch that is watched until it has begun something, and what is left of it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import START_LIMIT, free_port, processes_with, sgl_embed

MAPPED = re.compile(r" (/dev/shm/sglang_loads_\S+)")
"""What SGLang leaves in shared memory (srt/managers/load_snapshot.py), in /proc/PID/maps."""

IMPORTS, LOADS_WEIGHTS, OPENS_PORT, SERVES = (
    "  Importing SGLang",
    "  Loading weights",
    "  Opening the port",
    "  stop  ",
)
"""What is printed as each begins."""


@dataclass
class Launch:
    """A real `sgl-embed launch` of the tiny model.

    Attributes:
        process: It, or what it runs in.
        printed: File with all it prints.
        port: Where it serves.
        mark: In the environment of all its processes.
        temp: Folder of its temporary files.
        seen: What it had started when it was waited for.
    """

    process: subprocess.Popen[bytes]
    printed: Path
    port: int
    mark: str
    temp: Path
    seen: list[psutil.Process] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + START_LIMIT
        while text not in self.printed.read_text():
            assert self.process.poll() is None, self.printed.read_text()
            assert time.monotonic() < deadline, self.printed.read_text()
            time.sleep(0.05)
        self.seen = self.tree()

    def tree(self) -> list[psutil.Process]:
        """Return all that it has started: a title that is set hides the environment of some."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def first(self) -> psutil.Process:
        """Return process 1 where it runs in a namespace, by the id that it has out here."""
        process = psutil.Process(self.process.pid)
        return process.children()[0] if process.name() == "unshare" else process

    def shared_memory(self) -> list[Path]:
        """Return what its processes have mapped of what SGLang leaves."""
        found = set()
        for process in self.tree():
            with suppress(OSError):
                found.update(MAPPED.findall(Path(f"/proc/{process.pid}/maps").read_text()))
        return [Path(name) for name in found]

    def scheduler(self) -> psutil.Process:
        """Return the process that computes the embeddings."""
        (found,) = [
            process for process in self.tree() if process.cmdline()[:1] == ["sglang::scheduler"]
        ]
        return found

    def left(self, *, within: float = 0) -> list[object]:
        """Return the processes, temporary files and shared memory that are left of it."""
        deadline = time.monotonic() + within
        while True:
            alive = [one for one in self.seen if _is_alive(one)]
            left = [*alive, *processes_with(self.mark), *self.temp.glob("sgl-embed-run-*")]
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)


@contextmanager
def real_launch(
    folder: Path, *, fast: bool = True, drain: float = 30, within: Sequence[str] = ()
) -> Iterator[Launch]:
    """Launch the tiny model's server.

    Args:
        folder: Where there is room for its files.
        fast: Whether it is started fast.
        drain: The profile's `server.drain_seconds`.
        within: A command that runs the launcher.
    """
    profile, port = folder / "p.yaml", free_port()
    profile.write_text(
        f"extends: tiny-cpu\nserver: {{port: {port}, drain_seconds: {drain}}}\n"
        f"launch: {{fast_start: {str(fast).lower()}}}\n"
    )
    mark, printed = f"launch-{port}", folder / "printed"
    with printed.open("w") as output:
        process = subprocess.Popen(
            [*within, *sgl_embed("launch", str(profile))],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "SGL_EMBED_TEST": mark, "TMPDIR": str(folder)},
        )
    try:
        yield Launch(process, printed, port, mark, folder)
    finally:
        for left in processes_with(mark):
            left.kill()
        process.wait()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
