"""Whether a server that ended is started again, and when. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

from sgl_embed_kit.profile.schema import RestartSection

LEAST_SHARE = 0.5
"""Of a delay: machines whose servers died of the same cause shall not start all at once."""


@dataclass(frozen=True)
class Again:
    """Start it again.

    Attributes:
        number: Which restart this is within the window, from 1.
        delay: Seconds to wait before it.
    """

    number: int
    delay: float


@dataclass(frozen=True)
class GiveUp:
    """Leave it; `why` is a sentence, empty where the policy never restarts."""

    why: str


class Restarts:
    """Counts the restarts of one launch, and decides upon each further one.

    Args:
        rules: What the profile says.

    Attributes:
        was_ready: Whether a server of this launch has been ready.
        total: Restarts so far.
    """

    def __init__(self, rules: RestartSection) -> None:
        self._rules = rules
        self._times: list[float] = []
        self.was_ready = False
        self.total = 0

    def decide(self, now: float, *, heals: bool | None, chance: float) -> Again | GiveUp:
        """Say what follows upon a server's end.

        The delay doubles with each restart within the window, up to its limit; of that,
        between a half and the whole is waited.

        Args:
            now: Seconds on a clock that only goes forward.
            heals: Whether a new start may cure the cause; None where it is not known.
            chance: A random number from 0 to 1, for the delay.
        """
        rules = self._rules
        if rules.policy == "never":
            return GiveUp("")
        if heals is False:
            return GiveUp("It is not started again: another start would end the same way.")
        if not self.was_ready and not heals:
            return GiveUp("It is not started again: it has never been ready.")
        self._times = [time for time in self._times if time > now - rules.window_seconds]
        if len(self._times) >= rules.max_restarts:
            return GiveUp(
                f"It is not started again: {rules.max_restarts} restarts within "
                f"{rules.window_seconds:g} s are the limit (restart.max_restarts)."
            )
        longest = min(rules.first_delay_seconds * 2.0 ** len(self._times), rules.max_delay_seconds)
        self._times.append(now)
        self.total += 1
        share = LEAST_SHARE + (1 - LEAST_SHARE) * chance
        return Again(len(self._times), longest * share)
