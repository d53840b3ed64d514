"""Run a program that the kernel kills when the process that started it ends.

`python -I -S tied.py PID PROGRAM ARGUMENT…` becomes the program. It is tied to the thread
that started it (PR_SET_PDEATHSIG of prctl(2)), so that has to be the main one. A script of
its own, because code between fork and exec may hang where the parent has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else it has ended already
        os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted
