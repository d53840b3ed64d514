"""What may never come back: its result, its error, or the end of the wait."""

import threading

import pytest

from sgl_embed_kit.time_limit import within


def test_what_ends_in_time_returns_its_result_or_raises_its_error() -> None:
    def fails() -> None:
        raise KeyError("x")

    assert within(10, lambda: 1, "one") == 1
    assert within(10, lambda: None, "nothing") is None
    with pytest.raises(KeyError):
        within(10, fails, "fails")


def test_what_does_not_end_is_left_behind() -> None:
    for_ever = threading.Event()
    with pytest.raises(TimeoutError):
        within(0.05, for_ever.wait, "for-ever")
    (left,) = (thread for thread in threading.enumerate() if thread.name == "for-ever")
    assert left.daemon
    for_ever.set()
