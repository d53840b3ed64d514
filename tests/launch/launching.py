"""Launch the stand-in through all of `sgl-embed launch`, with the real checks and events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.profile import load_profile
from sgl_embed_kit.sglang.installed import Installed, find_installed
from tests.conftest import free_port, processes_with

LIMIT = 60.0
STAND_IN = Path(__file__).with_name("stand_in.py")

LAUNCH = """
import sys
from tests.launch.launching import installed_stand_in
from sgl_embed_kit.cli import launch, main
launch.find_installed = lambda: installed_stand_in(sys.argv[1])
main.main(["launch", *sys.argv[2:]])
"""


def stand_in_program(folder: Path) -> Path:
    """Return the stand-in as a program that can be run in SGLang's place."""
    program = folder / "sglang"
    program.write_text(f"#!{sys.executable} -S\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    return program


def installed_stand_in(program: str) -> Installed:
    """Return the SGLang of this environment, with another program."""
    found = find_installed()
    assert found is not None
    return replace(found, command=Path(program))


def profile_file(folder: Path, port: int, *, drain: float = 30) -> Path:
    """Write a profile whose server is the stand-in."""
    profile = folder / "stand-in.yaml"
    profile.write_text(
        f"extends: tiny-cpu\nmodel: {{served_name: stand-in-{port}}}\n"
        f"server: {{port: {port}, drain_seconds: {drain}}}\n"
        "guard: {enabled: false}\nlaunch: {fast_start: false}\n"
    )
    return profile


def subject_of(folder: Path) -> Subject:
    """Return the subject of a server that is the stand-in."""
    profile = load_profile(str(profile_file(folder, free_port())))
    subject = Subject.of(profile, installed_stand_in(str(stand_in_program(folder))), RealMachine())
    subject.source.make()
    return subject


@dataclass
class Launcher:
    """A launcher that runs, and what it has printed.

    Attributes:
        process: The launcher, or what it runs in.
        printed: File with all it prints.
        port: Where its server listens.
        mark: In the environment of it and of all that it starts.
        temp: Folder in which its servers' folders are.
    """

    process: subprocess.Popen[bytes]
    printed: Path
    port: int
    mark: str
    temp: Path

    @property
    def text(self) -> str:
        return self.printed.read_text()

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + LIMIT
        while text not in self.text:
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.05)

    def wait_for_processes(self, count: int) -> list[psutil.Process]:
        deadline = time.monotonic() + LIMIT
        while len(found := processes_with(self.mark)) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(found) >= count
        return found

    def server(self) -> psutil.Process:
        """Return the stand-in's main process."""
        (found,) = [one for one in processes_with(self.mark) if one.name() == "sglang"]
        return found

    def ends_with(self, *signals: signal.Signals, every: float = 0.5) -> int:
        """Send signals to the launcher and return its exit code."""
        for number in signals:
            self.process.send_signal(number)
            time.sleep(every)
        return self.process.wait(LIMIT)

    def leaves_nothing(self, within: float = 0) -> bool:
        """Say whether processes, temporary files and shared memory of it are gone."""
        deadline = time.monotonic() + within
        while self._left():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def logged(self) -> str:
        """Return what the stand-in has printed."""
        logs = Path(os.environ["SGL_EMBED_STATE"], "logs").glob(f"stand-in-{self.port}-*")
        return "".join(log.read_text() for log in logs)

    def _left(self) -> list[object]:
        lines = self.logged().splitlines()
        made = [Path(line.split()[1]) for line in lines if line.startswith("made ")]
        files = [path for path in (*made, *self.temp.iterdir()) if path.exists()]
        return [*processes_with(self.mark), *files]


@contextmanager
def launching(
    folder: Path,
    *,
    within: Sequence[str] = (),
    drain: float = 30,
    how: str = "",
    temp: Path | None = None,
    terminal: int | None = None,
) -> Iterator[Launcher]:
    """Launch the stand-in.

    Args:
        folder: Where there is room for its files.
        within: A command that runs the launcher.
        drain: The profile's `server.drain_seconds`.
        how: What the stand-in is told.
        temp: The folder for temporary files; None is for one of its own.
        terminal: Descriptor to print to.
    """
    port = free_port()
    place = folder / str(port)
    place.mkdir()
    mark, printed = f"stand-in-{port}", place / "printed"
    profile = profile_file(place, port, drain=drain)
    argv = [*within, sys.executable, "-c", LAUNCH, str(stand_in_program(place)), str(profile)]
    with ExitStack() as stack:
        if temp is None:  # SGLang's sockets bear no path as long as pytest's
            temp = Path(stack.enter_context(TemporaryDirectory()))
        own = {"SGL_EMBED_TEST": mark, "STAND_IN": how, "TMPDIR": str(temp)}
        output = stack.enter_context(printed.open("wb"))
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            env={**os.environ, **own},
        )
        try:
            yield Launcher(process, printed, port, mark, temp)
        finally:
            for left in processes_with(mark):
                left.kill()
            process.wait()
