"""Stop signals."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from sgl_embed_kit.launch.signals import (
    interrupts_deferred,
    stop_signals_counted,
    stop_signals_interrupt,
)

STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back the handlers of the test run."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_interrupts_once_and_is_ignored_afterwards(
    number: signal.Signals,
) -> None:
    with pytest.raises(KeyboardInterrupt), stop_signals_interrupt():
        os.kill(os.getpid(), number)
    for again in STOP_SIGNALS:
        os.kill(os.getpid(), again)
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_what_ends_the_work_is_not_interrupted(number: signal.Signals) -> None:
    ended = False
    with stop_signals_interrupt():
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            for again in STOP_SIGNALS:
                os.kill(os.getpid(), again)
            ended = True
    assert ended


def test_without_one_the_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stop_signals_interrupt():
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_a_closed_terminal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with stop_signals_interrupt(), interrupts_deferred(), stop_signals_counted() as asked:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not asked()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_second_one_is_counted(number: signal.Signals) -> None:
    with stop_signals_interrupt():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        with stop_signals_counted() as asked_again:
            assert not asked_again()
            os.kill(os.getpid(), number)
            assert asked_again()
        with stop_signals_counted() as asked_again:
            assert asked_again()


def test_the_first_one_interrupts_after_the_block_that_counts() -> None:
    finished = False
    with pytest.raises(KeyboardInterrupt), stop_signals_interrupt():
        with stop_signals_counted() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert asked()
            finished = True
        pytest.fail("it was not interrupted")
    assert finished


def test_one_that_was_deferred_interrupts_once() -> None:
    with stop_signals_interrupt():
        with pytest.raises(KeyboardInterrupt), interrupts_deferred():
            os.kill(os.getpid(), signal.SIGTERM)
        with interrupts_deferred():
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_deferred_signal_takes_effect_after_the_block(number: signal.Signals) -> None:
    finished = False
    with pytest.raises(KeyboardInterrupt), interrupts_deferred():
        os.kill(os.getpid(), number)
        finished = True
    assert finished


def test_without_a_signal_nothing_happens() -> None:
    with stop_signals_interrupt(), interrupts_deferred():
        pass


def test_outside_the_main_thread_the_handlers_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def look() -> None:
        with stop_signals_interrupt(), interrupts_deferred():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]
