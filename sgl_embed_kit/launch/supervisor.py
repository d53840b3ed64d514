"""Keep the server of a subject up: start it, watch it, and start it again where that helps."""

from __future__ import annotations

import random
import time
from contextlib import suppress

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import NotReadyError, ServerDiedError
from sgl_embed_kit.launch.events import OnEvent, Restarting, WaitingForMemory
from sgl_embed_kit.launch.output import Show
from sgl_embed_kit.launch.registration import recorded
from sgl_embed_kit.launch.restart import GiveUp, Restarts
from sgl_embed_kit.launch.server import Beat, RunningServer, no_beat, running_server
from sgl_embed_kit.machine import Machine
from sgl_embed_kit.machine.servers import Registration
from sgl_embed_kit.plan.device import gpus_for
from sgl_embed_kit.profile import Profile

MEMORY_SECONDS = 60.0
"""Limit for the wait for a dead server's GPU memory; the driver frees it within seconds."""
MEMORY_POLL = 1.0
TOLERANCE = 256 * 2**20
"""Bytes that may be missing of what was free before: other programs come and go."""


def keep_up(
    subject: Subject,
    on_event: OnEvent,
    registration: Registration,
    show_log: Show | None = None,
    beat: Beat = no_beat,
) -> None:
    """Run the server until a KeyboardInterrupt asks to stop; then end it whole.

    Args:
        subject: What is served.
        on_event: Told of what happens.
        registration: The server's record, through all its lives.
        show_log: Takes the lines that the server prints, without keys.
        beat: Called again and again for as long as all is well.

    Raises:
        ServerDiedError: it died or hung, and another start would not help or is not wanted.
        NotReadyError: it was not ready in time, likewise.
        KitError: it cannot be started, or its vectors are not what the profile promises.
    """
    restarts = Restarts(subject.profile.restart)
    told = recorded(registration, on_event)
    with suppress(KeyboardInterrupt):
        while True:
            free = free_memory(subject.profile, subject.machine)
            try:
                with running_server(subject, registration, show_log, beat) as server:
                    _one_life(server, restarts, on_event)
            except (ServerDiedError, NotReadyError) as error:
                delay = _delay_after(error, restarts, subject.profile, told)
                wait_until_released(subject.profile, subject.machine, free, on_event)
                time.sleep(delay)


def _one_life(server: RunningServer, restarts: Restarts, on_event: OnEvent) -> None:
    try:
        server.wait_until_ready(on_event)
        restarts.was_ready = True
        server.wait(on_event)
    except KeyboardInterrupt:
        server.stop(on_event)
        raise


def _delay_after(
    error: ServerDiedError | NotReadyError, restarts: Restarts, profile: Profile, on_event: OnEvent
) -> float:
    """Return the seconds to wait before another start; raises the error where none follows."""
    heals = error.heals if isinstance(error, ServerDiedError) else None
    chance = random.random()  # noqa: S311 - spreads restarts, guards nothing
    after = restarts.decide(time.monotonic(), heals=heals, chance=chance)
    if isinstance(after, GiveUp):
        error.why = f"{error.why}\n{after.why}".strip()
        raise error
    limit = profile.restart.max_restarts
    on_event(Restarting(error.what, error.why, after.number, limit, after.delay))
    return after.delay


def free_memory(profile: Profile, machine: Machine) -> tuple[int | None, ...]:
    """Return the bytes that are free on each GPU that the server takes; empty on a CPU."""
    if profile.hardware.device == "cpu":
        return ()
    return tuple(gpu.memory_free for gpu in gpus_for(profile, machine))


def wait_until_released(
    profile: Profile, machine: Machine, before: tuple[int | None, ...], on_event: OnEvent
) -> None:
    """Wait until as much memory is free as before the dead server was started.

    SGLang sizes its KV pool by what is free: started too early it would get a small one or
    none. After a minute the wait is over: something else may have taken the memory.
    """
    deadline, told = time.monotonic() + MEMORY_SECONDS, False
    while time.monotonic() < deadline:
        missing = _missing(before, free_memory(profile, machine))
        if missing <= TOLERANCE:
            return
        if not told:
            on_event(WaitingForMemory(missing))
            told = True
        time.sleep(MEMORY_POLL)


def _missing(before: tuple[int | None, ...], now: tuple[int | None, ...]) -> int:
    """Return the most bytes that one GPU has less than before."""
    pairs = zip(before, now, strict=False)
    return max((was - free for was, free in pairs if was and free is not None), default=0)
