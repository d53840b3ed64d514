"""Stand between the launcher and its server, so that nothing outlives either of them.

`python -I -S keeper.py LOCK REPORT PROGRAM ARGUMENT…` runs the program, waits until everything
is gone that it started, removes what it left behind, and ends as it ended. A process of its
own, because it has to outlive a launcher that is killed.

What is below it stays below it: as a subreaper (PR_SET_CHILD_SUBREAPER of prctl(2)) it becomes
the parent of each process whose own has ended, whatever session, process group, environment or
name that has. Once no child is left, nothing is.

It obeys its standard input: `t` is to ask the server to end. The end of the input, also that of
a launcher that was killed, is to kill it. A keeper that is killed takes the server with it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

TERMINATE = b"t"
EXEC_FAILED = 127

IN_CREATE = 0x100
LOOK_SECONDS = 0.25
"""Between looks at shared memory, where the kernel does not tell of it (inotify(7))."""
YOUNG_SECONDS = 0.02
"""Between looks at a file that is new: who made it is about to map it."""
LAST_WORK_SECONDS = 1.0
"""For what children do at their parent's end, as multiprocessing's resource tracker does."""

FOR_THE_LAUNCHER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where Linux has it, no choice of ours

COMMANDS = 0
"""The descriptor of the standard input."""


def main() -> None:
    """Keep the server that the arguments name."""
    for number in FOR_THE_LAUNCHER:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    lock, report, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for descriptor in (lock, report):
        os.set_inheritable(descriptor, False)
    woken, making = _wake_up_at_deaths(), _wake_up_at_shared_memory()
    before: set[str] = set()
    with suppress(OSError), os.scandir(SHARED_MEMORY) as entries:
        before = {entry.name for entry in entries}
    server = _start(argv, report)
    _end_like(_Keeper(server, woken, making, before).run())


def _wake_up_at_deaths() -> int:
    """Return a descriptor that can be read when a child has ended."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return woken


def _wake_up_at_shared_memory() -> int:
    """Return a descriptor that can be read when shared memory was made, or -1."""
    libc = ctypes.CDLL(None)
    making: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if making >= 0:
        libc.inotify_add_watch(making, SHARED_MEMORY.encode(), IN_CREATE)
    return making


def _start(argv: list[str], report: int) -> int:
    """Start the server in a session of its own.

    Reports its id, and the negative error number if it cannot be run, a line each.
    """
    keeper = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in (*FOR_THE_LAUNCHER, *IGNORED_BY_PYTHON):
                signal.signal(number, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), COMMANDS)
            if os.getppid() == keeper:  # else it has been killed already
                os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted
        except OSError as error:
            os.write(report, f"-{error.errno}\n".encode())
        finally:
            os._exit(EXEC_FAILED)
    os.write(report, f"{pid}\n".encode())
    os.close(report)
    return pid


class _Keeper:
    """Waits for the end of a server and of all that it starts."""

    def __init__(self, server: int, woken: int, making: int, before: set[str]) -> None:
        # Late and from the package, so that the server need not wait for it.
        from pathlib import Path

        sys.path.append(str(Path(__file__).parents[2]))
        from sgl_embed_kit.launch.shared_memory import SharedMemory

        self._server = server
        self._wakers = [woken, making] if making >= 0 else [woken]
        self._status: int | None = None
        self._folder = Path(os.environ["TMPDIR"])
        self._memory = SharedMemory(self._folder, before)
        self._is_young = True

    def run(self) -> int:
        """Return the server's wait status when nothing is left of it."""
        import shutil

        self._obey()
        self._memory.look(os.getpid())
        if self._status is not None:
            self._let_end(time.monotonic() + LAST_WORK_SECONDS)
        self._kill()
        self._memory.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
        assert self._status is not None
        return self._status

    def _obey(self) -> None:
        """Do what the launcher says, until the server ends or has to."""
        while self._has_children() and self._status is None:
            is_told = self._is_told()
            self._is_young = self._memory.look(os.getpid())
            if is_told:
                if os.read(COMMANDS, 1) != TERMINATE:
                    return
                os.kill(self._server, signal.SIGTERM)

    def _let_end(self, deadline: float) -> None:
        """Wait for children that end by themselves, unless the launcher is in a hurry."""
        while self._has_children() and time.monotonic() < deadline:
            if self._is_told() and os.read(COMMANDS, 1) != TERMINATE:
                return

    def _kill(self) -> None:
        """Kill until there is nobody left: the children of who dies become ours."""
        from sgl_embed_kit.launch.processes import kill_below

        while self._has_children():
            kill_below(os.getpid())
            self._is_told(listening=False)

    def _is_told(self, *, listening: bool = True) -> bool:
        """Wait a moment, for less if something happens; say if there is a command."""
        commands = [COMMANDS] if listening else []
        seconds = YOUNG_SECONDS if self._is_young else LOOK_SECONDS
        ready, _, _ = select.select([*self._wakers, *commands], [], [], seconds)
        for descriptor in set(ready) - {COMMANDS}:
            os.read(descriptor, resource.getpagesize())
        return COMMANDS in ready

    def _has_children(self) -> bool:
        """Wait for the children that have ended; say whether there are others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._server:
                self._status = status


def _end_like(status: int) -> None:
    """End as the server did, so that the launcher sees its status."""
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # nobody can handle SIGKILL
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    main()
