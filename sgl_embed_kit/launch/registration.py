"""Keep a server's record up to date with what happens to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.address import url_of
from sgl_embed_kit.launch.events import Event, OnEvent, PhaseBegan, Ready, Restarting, Stopping
from sgl_embed_kit.machine import ServerRecord
from sgl_embed_kit.machine.process_id import process_id
from sgl_embed_kit.machine.servers import READY, Place, Registration, registered

RESTARTING = "restarting"
STOPPING = "stopping"


@contextmanager
def registered_server(subject: Subject, profile: str = "") -> Iterator[Registration]:
    """Keep the record of a subject's server while the block runs, through all its restarts.

    Args:
        subject: What is to be served.
        profile: The profile's name; empty for none.

    Raises:
        AlreadyRunsError: a server of ours has its address.
        PlantedError: the folder for records is not this user's alone.
    """
    launcher = process_id(os.getpid())
    assert launcher is not None, "a server is launched on Linux, which tells of its processes"
    wanted = subject.profile
    record = ServerRecord(
        launcher=launcher,
        server=None,
        place=Place.here(),
        host=wanted.server.host,
        port=wanted.server.port,
        url=url_of(wanted),
        name=subject.mask(wanted.model.name),
        model=subject.mask(wanted.model.path),
        profile=profile,
        drain_seconds=wanted.server.drain_seconds,
    )
    with registered(record) as registration:
        yield registration


def recorded(registration: Registration, on_event: OnEvent) -> OnEvent:
    """Return a follower of events that keeps a record up to date before it passes them on."""

    def follow(event: Event) -> None:
        match event:
            case PhaseBegan(phase):
                registration.update(phase=phase.label)
            case Ready():
                registration.update(phase=READY, ready_after=event.seconds)
            case Restarting():
                restarts = registration.record.restarts + 1
                registration.update(
                    server=None, phase=RESTARTING, ready_after=None, restarts=restarts
                )
            case Stopping():
                registration.update(phase=STOPPING)
        on_event(event)

    return follow
