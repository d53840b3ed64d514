"""Signals that ask to stop, turned into one KeyboardInterrupt, at a moment that can bear it."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM) + (
    (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
)


class _Asked:
    """How often it was asked to stop; the first time interrupts, the others must not."""

    def __init__(self) -> None:
        self.times = 0
        self._interrupted = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.count(number)
        self.interrupt()

    def count(self, number: int) -> None:
        self.times += 1
        if number == getattr(signal, "SIGHUP", None):
            _leave_lost_terminal()

    def interrupt(self) -> None:
        if self.times and not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal (SIGHUP) interrupt just as Ctrl-C does, and only once.

    So that nothing is interrupted which ends what was begun. A SIGHUP that is ignored, as
    under nohup, stays so.
    """
    if not _is_main_thread():
        yield  # only the main thread may set handlers, and only it is interrupted
        return
    with _handled_by(_Asked()):
        yield


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold back stop signals while the block runs; they take effect after it.

    So that no process can be started whose id was not yet written down.
    """
    if not _is_main_thread():
        yield
        return
    asked = _current() or _Asked()
    with _handled_by(lambda number, _frame: asked.count(number)):
        yield
    asked.interrupt()


@contextmanager
def stop_signals_counted() -> Iterator[Callable[[], bool]]:
    """Yield what says whether somebody has asked to stop again, and interrupt nothing.

    Where nobody had asked before, the first one interrupts after the block, if there is
    `stop_signals_interrupt` around it.
    """
    if not _is_main_thread():
        yield lambda: False
        return
    outer = _current()
    asked = outer or _Asked()
    before = min(asked.times, 1)
    with _handled_by(lambda number, _frame: asked.count(number)):
        yield lambda: asked.times > before
    if outer is not None:
        outer.interrupt()


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    previous = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        for number, before in previous.items():
            if number in (signal.SIGINT, signal.SIGTERM) or before is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def _current() -> _Asked | None:
    handler = signal.getsignal(signal.SIGTERM)
    return handler if isinstance(handler, _Asked) else None


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _leave_lost_terminal() -> None:
    """Write nowhere what would go to a terminal that is gone: each write would fail."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(AttributeError, OSError, ValueError):
            descriptor = stream.fileno()  # type: ignore[union-attr]
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
