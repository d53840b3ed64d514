"""Signals that ask to stop, turned into one KeyboardInterrupt, at a moment that can bear it."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGHUP: int = getattr(signal, "SIGHUP", 0)
"""0 on Windows, which has none."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([SIGHUP] if SIGHUP else []))

Handler = Callable[[int, FrameType | None], None]


class _Asked:
    """How often it was asked to stop; the first time interrupts, the others must not."""

    def __init__(self) -> None:
        self.times = 0
        self.has_interrupted = False

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        self.count(number)
        self.interrupt()

    def count(self, number: int) -> None:
        self.times += 1
        if number == SIGHUP:
            _leave_lost_terminal()

    def interrupt(self) -> None:
        if self.times and not self.has_interrupted:
            self.has_interrupted = True
            raise KeyboardInterrupt


@contextmanager
def stop_signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and a closed terminal (SIGHUP) interrupt just as Ctrl-C does, and only once.

    So that nothing is interrupted which ends what was begun: after one, they are ignored until
    the program has ended. A SIGHUP that is ignored before, as under nohup, stays so.
    """
    if not _is_main_thread():
        yield  # only the main thread may set handlers, and only it is interrupted
        return
    asked = _Asked()
    previous = _handle(asked)
    try:
        yield
    finally:
        _restore(dict.fromkeys(previous, signal.SIG_IGN) if asked.has_interrupted else previous)


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
def _handled_by(handler: Handler) -> Iterator[None]:
    previous = _handle(handler)
    try:
        yield
    finally:
        _restore(previous)


def _handle(handler: Handler) -> dict[int, Any]:
    """Set a handler for the stop signals, and return those that they had."""
    previous: dict[int, Any] = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if previous.get(SIGHUP) is signal.SIG_IGN:
        del previous[SIGHUP]
    for number in previous:
        signal.signal(number, handler)
    return previous


def _restore(handlers: Mapping[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


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
