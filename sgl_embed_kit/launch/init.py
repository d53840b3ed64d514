"""Do the duties of process 1 of a container beside the program itself.

The kernel gives process 1 the orphans of all others, to wait for, and no signal that it does
not handle, also not while it still imports. So the program runs in a child, which is a process
like any other, as with `docker run --init`.
"""

from __future__ import annotations

import os
import signal

SI_KERNEL = 0x80
"""Of siginfo_t's si_code (sigaction(2)): sent by the terminal, to the child as well."""

PASSED_ON = frozenset(
    {
        signal.SIGINT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)


def leave_process_1() -> None:
    """Return in a child if this is process 1, which waits and ends as the child does."""
    if os.getpid() != 1:
        return
    waited_for = PASSED_ON | {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
        return
    while (status := _status_of(child)) is None:
        received = signal.sigwaitinfo(waited_for)
        if received.si_signo in PASSED_ON and received.si_code != SI_KERNEL:
            os.kill(child, received.si_signo)
    os._exit(128 - status if status < 0 else status)


def _status_of(child: int) -> int | None:
    """Wait for all that have ended; return the child's exit code if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)
