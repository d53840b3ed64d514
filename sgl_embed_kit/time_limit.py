"""Wait no longer than a while for what may never come back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, task: Callable[[], T], name: str) -> T:
    """Run a task in a thread of its own, which is left behind when the time is up.

    For what has no limit of its own: resolving a name, headers that come byte by byte, a
    driver that is stuck in the kernel. The thread holds up nothing, not even the end of the
    program.

    Args:
        seconds: The time.
        task: What is run.
        name: What the thread is called.

    Raises:
        TimeoutError: the task has not ended by then.
        Exception: whatever the task raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(task())
        except BaseException as error:  # it belongs to the one who waits
            errors.append(error)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError
    return results[0]
