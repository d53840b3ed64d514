"""Make multiprocessing's fork server a good parent of SGLang's processes; preloaded by it first.

A plain start has no process between the main one and its children. So that the one between
them makes no difference:

- A child that fails sends SIGQUIT to its parent (run_scheduler_process,
  srt/managers/scheduler.py), which is to end the main process: it is passed on.
- Children are killed when their parent ends (kill_itself_when_parent_died,
  srt/utils/common.py), so the fork server ends with the main process.
"""

from __future__ import annotations

import ctypes
import os
import signal
from multiprocessing import spawn

from sgl_embed_kit.fast_start import children

PR_SET_PDEATHSIG = 1

_main = os.getppid()
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != _main:
    os._exit(1)  # the main process ended before this one was tied to it
signal.signal(signal.SIGQUIT, lambda _number, _frame: os.kill(_main, signal.SIGQUIT))
spawn.prepare = children.prepare_as_spawned
children.carry_environment()
