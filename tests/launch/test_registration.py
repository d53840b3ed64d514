"""What a server's record says from its start to its end."""

import os
from pathlib import Path

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.events import Event, PhaseBegan, Ready, Restarting, Stopped, Stopping
from sgl_embed_kit.launch.registration import recorded, registered_server
from sgl_embed_kit.machine.servers import running_servers
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.masking import Mask
from sgl_embed_kit.sglang.log import IMPORTING
from tests.machines import FakeMachine
from tests.servers import own_id

CONTENT = {
    "model": {"path": "tiny:", "served_name": "secret-name"},
    "server": {"host": "::", "port": 4567, "drain_seconds": 7},
}


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Subject:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path))
    mask = Mask({"secret-name": "NAME"})
    return Subject.of(Profile.model_validate(CONTENT), None, FakeMachine(), mask)


def test_a_record_says_what_is_to_be_served_without_what_is_secret(subject: Subject) -> None:
    with registered_server(subject, "mine"):
        (record,) = running_servers()
    assert (record.launcher.pid, record.server, record.profile) == (os.getpid(), None, "mine")
    assert (record.name, record.model, record.drain_seconds) == ("${NAME}", "tiny:", 7)
    assert (record.host, record.port, record.url) == ("::", 4567, "http://[::1]:4567")
    assert running_servers() == ()


READY = Ready("http://x", "m", 3, 12.5, (), 1, Path("/x.log"))


@pytest.mark.parametrize(
    ("event", "phase", "ready_after", "has_server", "restarts"),
    [
        (PhaseBegan(IMPORTING), "Importing SGLang", 1.0, True, 2),
        (READY, "ready", 12.5, True, 2),
        (Restarting("It died.", "", 1, 2, 3.0), "restarting", None, False, 3),
        (Stopping(30), "stopping", 1.0, True, 2),
        (Stopped(), "before", 1.0, True, 2),
    ],
    ids=["phase", "ready", "restarting", "stopping", "stopped"],
)
def test_it_follows_what_happens(
    subject: Subject,
    event: Event,
    phase: str,
    ready_after: float | None,
    has_server: bool,
    restarts: int,
) -> None:
    passed_on: list[Event] = []
    with registered_server(subject) as registration:
        registration.update(server=own_id(), phase="before", ready_after=1.0, restarts=2)
        recorded(registration, passed_on.append)(event)
        (record,) = running_servers()
    assert (record.phase, record.ready_after, record.restarts) == (phase, ready_after, restarts)
    assert (record.server is not None) is has_server
    assert passed_on == [event]
