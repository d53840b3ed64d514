"""How long a server may stand still before it is ill. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

WAITING_SECONDS = 10.0
"""Texts that wait while nothing moves are a reason to ask sooner than silence is."""


class Canary(Enum):
    """What became of the last canary: a short text sent to see whether a vector returns."""

    NONE = auto()
    PENDING = auto()
    ANSWERED = auto()
    FAILED = auto()


class Verdict(Enum):
    """What to do with a server."""

    WELL = auto()
    ASK = auto()
    ILL = auto()


@dataclass(frozen=True)
class Pulse:
    """What can be seen of a server at one moment.

    Attributes:
        moved: Something that differs from last time if tokens have moved since.
        waiting: Texts that wait in its queue; None where it does not say.
        canary: What became of the canary that was sent last.
    """

    moved: object
    waiting: int | None
    canary: Canary


class Patience:
    """Judges one server by its pulse, taken about every `interval` seconds.

    It is ill if for `stall_seconds` a canary has brought no vector and no tokens moved
    meanwhile. Tokens that move are health, however long a canary waits behind them: a
    loaded server is never ended. Time counts by looks, each at most twice the interval
    long, so that a machine that slept is not taken for a server that hung.

    Args:
        quiet_seconds: Silence after which a canary is sent.
        stall_seconds: How long nothing may move once one was sent.
        interval: Seconds between two looks.
    """

    def __init__(self, quiet_seconds: float, stall_seconds: float, interval: float) -> None:
        self._quiet_limit = quiet_seconds
        self._stall_limit = stall_seconds
        self._longest_step = 2 * interval
        self._looked_at: float | None = None
        self._moved: object = None
        self._quiet = 0.0
        self._asked: float | None = None

    @property
    def stalled_seconds(self) -> float:
        """Seconds in which nothing moved although a canary had been sent."""
        return 0.0 if self._asked is None else self._asked

    def look(self, now: float, pulse: Pulse) -> Verdict:
        """Say what to do, by what is seen now.

        Args:
            now: Seconds on a clock that only goes forward.
            pulse: What is seen.
        """
        step = 0.0 if self._looked_at is None else min(now - self._looked_at, self._longest_step)
        self._looked_at = now
        self._quiet += step
        if self._asked is not None:
            self._asked += step
        if pulse.moved != self._moved or pulse.canary is Canary.ANSWERED:
            self._moved = pulse.moved
            self._quiet = 0.0
            self._asked = 0.0 if pulse.canary is Canary.PENDING else None
        if self._asked is not None and self._asked >= self._stall_limit:
            return Verdict.ILL
        if pulse.canary is Canary.PENDING:
            return Verdict.WELL
        limit = min(WAITING_SECONDS, self._quiet_limit) if pulse.waiting else self._quiet_limit
        if self._quiet < limit:
            return Verdict.WELL
        if self._asked is None:
            self._asked = 0.0
        return Verdict.ASK
