"""A server that is kept up, with scripted servers in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import KitError, NotReadyError, ServerDiedError
from sgl_embed_kit.launch import supervisor
from sgl_embed_kit.launch.events import Event, OnEvent, Restarting, Stopping, WaitingForMemory
from sgl_embed_kit.launch.registration import registered_server
from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.nvidia import Gpu, Nvidia
from sgl_embed_kit.profile import Profile
from tests.machines import FakeMachine

GIB = 2**30
CRASH = ServerDiedError("The server was killed by signal 9.", why="A crash.", cure="less log")

Step = Callable[[], None]


def fails(error: BaseException) -> Step:
    def step() -> None:
        raise error

    return step


def works() -> None:
    """Nothing happens."""


def is_asked_to_stop() -> None:
    raise KeyboardInterrupt


@dataclass
class Scripted:
    """A server whose start and life go as they are written."""

    start: Step = works
    life: Step = is_asked_to_stop

    def wait_until_ready(self, _on_event: OnEvent) -> None:
        self.start()

    def wait(self, _on_event: OnEvent) -> None:
        self.life()

    def stop(self, on_event: OnEvent) -> None:
        on_event(Stopping(30))


@dataclass
class Stage:
    """Runs a subject with one scripted server after the other, and no real time."""

    monkeypatch: pytest.MonkeyPatch
    subject: Subject
    events: list[Event] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    left: list[Scripted] = field(default_factory=list)
    ended: int = 0
    record: ServerRecord | None = None

    def play(self, *servers: Scripted) -> None:
        self.left = list(servers)
        self.monkeypatch.setattr(supervisor, "running_server", self._running)
        self.monkeypatch.setattr("time.sleep", self.slept.append)
        self.monkeypatch.setattr("random.random", lambda: 1.0)
        with registered_server(self.subject) as registration:
            try:
                supervisor.keep_up(self.subject, self.events.append, registration)
            finally:
                self.record = registration.record

    @contextmanager
    def _running(self, *_arguments: object) -> Iterator[Scripted]:
        try:
            yield self.left.pop(0)
        finally:
            self.ended += 1


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch, subject_of({"restart": {"policy": "on-failure", "max_restarts": 2}}))


def subject_of(content: dict[str, object], machine: FakeMachine | None = None) -> Subject:
    base = {"model": {"path": "m"}, "hardware": {"device": "cpu"}}
    profile = Profile.model_validate({**base, **content})
    return Subject.of(profile, None, machine or FakeMachine())


def test_a_server_that_is_asked_to_stop_is_stopped_and_not_started_again(stage: Stage) -> None:
    stage.play(Scripted(), Scripted())
    assert stage.events == [Stopping(30)]
    assert stage.ended == 1


def test_a_server_that_died_is_started_again_after_a_while(stage: Stage) -> None:
    stage.play(Scripted(life=fails(CRASH)), Scripted())
    assert stage.events == [Restarting(CRASH.what, "A crash.", 1, 2, 2.0), Stopping(30)]
    assert stage.slept == [2.0]
    assert stage.ended == 2
    assert stage.record is not None
    assert (stage.record.restarts, stage.record.phase) == (1, "restarting")


def test_the_last_of_too_many_failures_is_told_with_its_own_cause(stage: Stage) -> None:
    dying = [
        Scripted(life=fails(ServerDiedError("It died.", why=f"cause {n}", cure="less log")))
        for n in range(3)
    ]
    with pytest.raises(ServerDiedError) as caught:
        stage.play(*dying)
    assert caught.value.why == (
        "cause 2\nIt is not started again: 2 restarts within 3600 s are the limit "
        "(restart.max_restarts)."
    )
    assert caught.value.cure == "less log"
    assert stage.ended == 3


def test_a_cause_that_cannot_heal_ends_the_launch_at_once(stage: Stage) -> None:
    error = ServerDiedError("The server died.", why="No memory for the weights.", heals=False)
    with pytest.raises(ServerDiedError) as caught:
        stage.play(Scripted(life=fails(error)))
    assert caught.value.why.endswith(
        "It is not started again: another start would end the same way."
    )
    assert stage.events == []


def test_a_restarted_server_that_is_not_ready_in_time_counts_as_one_more_failure(
    stage: Stage,
) -> None:
    late = NotReadyError("The server was not ready within 600 s.")
    stage.play(Scripted(life=fails(CRASH)), Scripted(start=fails(late)), Scripted())
    assert [event.what for event in stage.events if isinstance(event, Restarting)] == [
        CRASH.what,
        late.what,
    ]
    assert stage.slept == [2.0, 4.0]


def test_a_first_start_that_fails_is_the_error_itself(stage: Stage) -> None:
    with pytest.raises(NotReadyError, match="not ready"):
        stage.play(Scripted(start=fails(NotReadyError("not ready"))), Scripted())
    assert stage.ended == 1


def test_without_a_policy_the_error_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ServerDiedError("The server died.", why="A crash.")
    with pytest.raises(ServerDiedError) as caught:
        Stage(monkeypatch, subject_of({})).play(Scripted(life=fails(error)))
    assert caught.value.why == "A crash."


def test_wrong_vectors_are_never_tried_again(stage: Stage) -> None:
    with pytest.raises(KitError, match="dimensions"):
        stage.play(Scripted(start=fails(KitError("64 dimensions, not 32"))), Scripted())
    assert stage.ended == 1


def test_a_stop_signal_between_two_starts_ends_the_launch(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "slept", Interrupting())
    stage.play(Scripted(life=fails(CRASH)), Scripted())
    assert stage.ended == 1


class Interrupting(list[float]):
    """In the place of a wait: Ctrl-C comes during it."""

    def append(self, _seconds: float) -> None:
        raise KeyboardInterrupt


@dataclass
class Releasing(FakeMachine):
    """A machine whose GPU has these bytes free, one answer after the other."""

    free: list[int | None] = field(default_factory=list)

    def nvidia(self) -> Nvidia:
        free = self.free.pop(0) if len(self.free) > 1 else self.free[0]
        return Nvidia(gpus=(Gpu("NVIDIA A10", 24 * GIB, free, index=0),), source="NVML")


def waited(monkeypatch: pytest.MonkeyPatch, *free: int | None) -> tuple[list[Event], list[float]]:
    """Return the events and waits between a death and a start, with this much free in turn."""
    machine = Releasing(free=list(free))
    stage = Stage(
        monkeypatch,
        subject_of({"hardware": {"device": "cuda"}, "restart": {"policy": "on-failure"}}, machine),
    )
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    stage.play(Scripted(life=fails(CRASH)), Scripted())
    return [e for e in stage.events if isinstance(e, WaitingForMemory)], stage.slept[:-1]


def test_the_memory_of_the_dead_server_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    events, waits = waited(monkeypatch, 20 * GIB, 2 * GIB, 10 * GIB, 20 * GIB)
    assert events == [WaitingForMemory(18 * GIB)]
    assert waits == [1.0, 1.0]


def test_a_little_less_memory_than_before_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, 20 * GIB, 20 * GIB - 256 * 2**20) == ([], [])
    assert waited(monkeypatch, 20 * GIB, 20 * GIB - 257 * 2**20)[0] != []


def test_memory_that_never_comes_back_is_not_waited_for_longer_than_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events, waits = waited(monkeypatch, 20 * GIB, 2 * GIB)
    assert len(events) == 1
    assert 3 <= len(waits) <= 6  # ten seconds pass at each look at this clock


def test_a_driver_that_does_not_tell_memory_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert waited(monkeypatch, None, 2 * GIB) == ([], [])
    assert waited(monkeypatch, 20 * GIB, None) == ([], [])
