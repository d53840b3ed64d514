"""A key is in no log, on no screen, in no event and in no error, however the server prints it."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.errors import ServerDiedError
from sgl_embed_kit.folders import log_folder
from sgl_embed_kit.launch.event_json import JsonEvents
from sgl_embed_kit.launch.events import LogTrouble, Noticed
from sgl_embed_kit.launch.output import Line
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import Installed, find_installed
from tests.conftest import free_port, run
from tests.events import valid_events

API_KEY = "c4nary$api{key}"
AWKWARD = "c4nary'\"\\ $HOME\té漢😀"
PASSWORD = "c4nary\"pass'word"

SERVER = f"""#!{sys.executable}
import json, os, shlex, sys, time
from urllib.parse import quote
key = os.environ["HF_TOKEN"]
config = open(sys.argv[sys.argv.index("--config") + 1]).read()
print("args", sys.argv)
print(config, flush=True)
written = [key, repr(key), ascii(key), json.dumps(key), json.dumps(key, ensure_ascii=False),
           repr(repr(key)), json.dumps(json.dumps(key)), shlex.quote(key), quote(key), key.encode()]
for text in written:
    print("Server says", text, file=sys.stderr, flush=True)
arguments = {{"config": config, "env": dict(os.environ), "x": written}}
print(f"server_args={{arguments}}", flush=True)
print("Load weight begin. avail mem=1 GB", flush=True)
print("KV pool holds 1 tokens, fewer than --context-length 2.", key, flush=True)
time.sleep(1)  # so that it is seen before the end
raise RuntimeError(f"CUDA out of memory for {{key}} and {{config}}")
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Installed:
    """An SGLang whose program is the one above."""
    program = tmp_path / "bin" / "sglang"
    program.parent.mkdir()
    program.write_text(SERVER)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    installed = find_installed()
    assert installed is not None
    return replace(installed, command=program)


@pytest.fixture
def subject(
    tmp_path: Path, stand_in: Installed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CANARY_API_KEY", API_KEY)
    make_tiny_model(tmp_path / "m", TinyModel(hidden_size=64, layers=1))
    content = {
        "model": {"path": str(tmp_path / "m")},
        "hardware": {"device": "cpu"},
        "server": {"port": free_port(), "api_key_env": "CANARY_API_KEY"},
        "launch": {"fast_start": False},
        "sglang": {"extra_args": {"ssl-keyfile-password": PASSWORD}},
        "env": {"HF_TOKEN": AWKWARD},
    }
    yield Subject.of(Profile.model_validate(content), stand_in, RealMachine())


def test_no_key_is_anywhere(subject: Subject) -> None:
    shown: list[Line] = []
    events: list[str] = []
    with (
        pytest.raises(ServerDiedError) as caught,
        running_server(subject, show_log=shown.extend) as server,
    ):
        server.wait_until_ready(JsonEvents(events.append))
    (log,) = log_folder().glob("*.log")
    error = caught.value
    everywhere = {
        "log": log.read_text(encoding="utf-8"),
        "stderr": "\n".join(line.text for line in shown),
        "events": "\n".join(events),
        "error": f"{error.what}\n{error.why}\n{error.cure}",
    }
    for place, text in everywhere.items():
        assert "c4nary" not in text, place
    said = [line for line in everywhere["log"].splitlines() if "Server says" in line]
    assert len(said) == 10
    assert all("<key>" in line for line in said)
    assert everywhere["stderr"] + "\n" == everywhere["log"]
    assert "<key>" in everywhere["events"]
    assert "<key>" in error.why
    noticed = [event for event in valid_events(events) if event["event"] == "noticed"]
    assert "tokens, fewer than --context-length 2. <key>" in noticed[0]["line"]


def test_a_log_that_cannot_be_written_is_an_event_and_the_death_is_explained_all_the_same(
    subject: Subject,
) -> None:
    told: list[object] = []
    log_folder().mkdir(parents=True)
    with (
        mock.patch("sgl_embed_kit.launch.server.log_file", lambda _name: log_folder()),
        pytest.raises(ServerDiedError) as caught,
        running_server(subject) as server,
    ):
        server.wait_until_ready(told.append)
    assert [event for event in told if isinstance(event, LogTrouble)] == [
        LogTrouble(log_folder(), "Is a directory")
    ]
    assert [event for event in told if isinstance(event, Noticed)]
    assert "CUDA out of memory" in caught.value.why


@pytest.fixture
def profile(tmp_path: Path, subject: Subject) -> Path:
    path = tmp_path / "canary.yaml"
    path.write_text(
        f"model: {{path: {subject.profile.model.path}}}\n"
        "hardware: {device: cpu}\n"
        f"server: {{port: {subject.profile.server.port}, api_key_env: CANARY_API_KEY}}\n"
        "launch: {fast_start: false}\n"
        "sglang: {extra_args: {ssl-keyfile-password: '${CANARY_PASSWORD}'}}\n"
        "env: {HF_TOKEN: '${CANARY_TOKEN}'}\n"
    )
    return path


@pytest.mark.parametrize("form", ["json", "text"])
def test_launch_tells_all_of_it_without_a_key(
    profile: Path, stand_in: Installed, form: str
) -> None:
    with (
        mock.patch("sgl_embed_kit.cli.launch.find_installed", lambda: stand_in),
        mock.patch("sgl_embed_kit.cli.launch.preflight", lambda *_: True),
    ):
        done = run(
            *("launch", str(profile), "--log-format", form, "--verbose"),
            CANARY_API_KEY=API_KEY, CANARY_PASSWORD=PASSWORD, CANARY_TOKEN=AWKWARD,
        )  # fmt: skip
    assert done.returncode == 3
    assert "c4nary" not in done.stdout + done.stderr
    assert "\nerror: The server ended with status 1.\n" in done.stderr
    assert "\nServer says <key>\n" in done.stderr
    if form == "text":
        assert done.stdout == ""
        assert "\n  Loading weights\n" in done.stderr
        return
    events = valid_events(done.stdout.splitlines())
    names = [event["event"] for event in events]
    assert names[:2] == ["started", "phase_began"]
    assert names[-1] == "ended"
    assert events[-1]["exit_code"] == 3
    assert events[-1]["what"] == "The server ended with status 1."
    phases = [event["phase"] for event in events if event["event"] == "phase_began"]
    assert phases[0] == "importing"
    assert phases[-1] == "weights"
    assert "  Loading weights" not in done.stderr


def test_a_start_that_the_checks_stop_has_an_end_too(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"model: {{path: {tmp_path}/none}}\nhardware: {{device: cpu}}\n")
    done = run("launch", str(path), "--log-format", "json")
    assert done.returncode == 1
    (ended,) = valid_events(done.stdout.splitlines())
    assert (ended["event"], ended["exit_code"], ended["pid"]) == ("ended", 1, None)


def test_a_profile_that_cannot_be_used_is_an_end_too(tmp_path: Path) -> None:
    done = run("launch", str(tmp_path / "none.yaml"), "--log-format", "json")
    (ended,) = valid_events(done.stdout.splitlines())
    assert (done.returncode, ended["exit_code"]) == (2, 2)
    assert ended["what"] in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["event"] == "ended"
