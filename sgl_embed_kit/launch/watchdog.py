"""Watch a server that is ready: does it still return vectors, whatever `/health` says?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType

import httpx

from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.patience import Canary, Patience, Pulse, Verdict
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.schema import WatchdogSection

CANARY_TEXT = "Is this embedding server well?"
INTERVAL = 5.0
"""Seconds between two looks. While the log stands still, each leaves a line in it."""
LOADS_SECONDS = 5.0
STALL_SECONDS = {"cuda": 120.0, "cpu": 300.0}
"""By device: longer than one batch may take, a compilation at first use among it, and not
longer than SGLang's own limit for one (`--watchdog-timeout`, 300 s)."""


class Watchdog:
    """Looks at a server from a thread of its own, until it is closed.

    Three things are looked at: batches in the log; where these stand still, SGLang's own
    count of tokens and of waiting texts (`/v1/loads`, which the scheduler writes also while
    nothing moves); and a canary.

    Args:
        profile: The server's.
        api_key: Its key, if it has one.
        batches: Returns how many batches its log has shown.
    """

    def __init__(self, profile: Profile, api_key: str | None, batches: Callable[[], int]) -> None:
        rules = profile.watchdog
        self._profile = profile
        self._batches = batches
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._patience = Patience(
            rules.quiet_seconds, stall_seconds(rules, profile.hardware.device), interval(rules)
        )
        self._canary = Canary.NONE
        self._closed = threading.Event()
        self._ill = threading.Event()

    def __enter__(self) -> Watchdog:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()

    @property
    def is_ill(self) -> bool:
        """Whether the server has stood still for too long."""
        return self._ill.is_set()

    @property
    def stalled_seconds(self) -> float:
        """For how long nothing has moved although a canary was sent."""
        return self._patience.stalled_seconds

    def _watch(self) -> None:
        loads, seen = Loads(), 0
        with httpx.Client(
            base_url=url_of(self._profile), headers=self._headers, timeout=LOADS_SECONDS
        ) as http:
            while not self._closed.wait(interval(self._profile.watchdog)):
                batches = self._batches()
                if batches == seen:
                    loads = read_loads(http, loads)
                seen = batches
                verdict = self._look(Pulse((batches, loads.tokens), loads.waiting, self._canary))
                if verdict is Verdict.ASK:
                    self._canary = Canary.PENDING
                    threading.Thread(target=self._ask, name="canary", daemon=True).start()
                elif verdict is Verdict.ILL:
                    self._ill.set()
                    return

    def _look(self, pulse: Pulse) -> Verdict:
        if pulse.canary in {Canary.ANSWERED, Canary.FAILED}:
            self._canary = Canary.NONE
        return self._patience.look(time.monotonic(), pulse)

    def _ask(self) -> None:
        """Send a canary, and wait for its vector for as long as it takes."""
        url = f"{url_of(self._profile)}/v1/embeddings"
        body = {"model": self._profile.model.name, "input": [CANARY_TEXT]}
        try:
            answer = httpx.post(url, json=body, headers=self._headers, timeout=None)  # noqa: S113
        except httpx.HTTPError:
            self._canary = Canary.FAILED
        else:
            self._canary = Canary.ANSWERED if answer.is_success else Canary.FAILED


@contextmanager
def watching(
    profile: Profile, api_key: str | None, batches: Callable[[], int]
) -> Iterator[Watchdog]:
    """Yield a watchdog that looks at the server, unless the profile wants none."""
    watchdog = Watchdog(profile, api_key, batches)
    with watchdog if profile.watchdog.enabled else nullcontext():
        yield watchdog


@dataclass(frozen=True)
class Loads:
    """What SGLang's scheduler says of its work.

    Attributes:
        tokens: Computed so far, by replica; from SGLang 0.5.18 on.
        waiting: Texts in its queue; None where it does not say.
    """

    tokens: tuple[int | None, ...] = ()
    waiting: int | None = None


def read_loads(http: httpx.Client, last: Loads) -> Loads:
    """Ask a server for its work; where it does not answer, what it said last of its tokens."""
    try:
        answer = http.get("/v1/loads", params={"include": "core"})
        answer.raise_for_status()
        loads = answer.json()["loads"]
        return Loads(
            tokens=tuple(load.get("total_prefill_uncached_tokens") for load in loads),
            waiting=sum(int(load["num_waiting_reqs"]) for load in loads),
        )
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return replace(last, waiting=None)  # a release before 0.5.8, or one that is busy


def interval(rules: WatchdogSection) -> float:
    """Return the seconds between two looks."""
    return min(INTERVAL, rules.quiet_seconds / 2)


def stall_seconds(rules: WatchdogSection, device: str) -> float:
    """Return how long a server may stand still before it is ill."""
    return STALL_SECONDS[device] if rules.stall_seconds == "auto" else rules.stall_seconds
