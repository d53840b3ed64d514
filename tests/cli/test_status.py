"""`sgl-embed status`: what runs, in both forms, and a server that is asked by its address."""

import dataclasses
import json
import os
import socket
from datetime import datetime
from pathlib import Path

import pytest

from sgl_embed_kit.launch.status import StatusJson, duration, shortened
from sgl_embed_kit.machine.servers import registered
from tests.conftest import ROOT, run
from tests.doctor.live.hostile import Behaviour, hostile, response, sends
from tests.machines import UNREACHABLE
from tests.servers import own_id, record_of


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_with_no_server_it_says_how_to_start_one(state: Path) -> None:
    done = run("status")
    assert done.returncode == 0
    assert done.stdout == ("No server of yours runs here. Start one: sgl-embed launch minilm-cpu\n")
    told = StatusJson.model_validate_json(run("status", "--format", "json").stdout)
    assert (told.servers, told.asked) == ([], None)
    assert not state.exists()


def test_every_server_is_shown_in_80_columns() -> None:
    ended = dataclasses.replace(own_id(), started=1)
    one = dataclasses.replace(
        record_of(server=own_id(), port=30000, phase="Reserving the KV pool"), restarts=12
    )
    two = dataclasses.replace(
        record_of(server=ended, name="n" * 60, port=65000), model="/folder" * 30, profile=""
    )
    with registered(one), registered(two), registered(record_of(port=3, phase="", name="soon")):
        done = run("status")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["NAME", "PID", "PORT", "UP", "STATE", "RESTARTS"]
    assert max(map(len, lines)) == 80
    rows = {line.split()[2]: line for line in lines[1::2]}
    assert rows["30000"].split()[:3] == ["mine", str(os.getpid()), "30000"]
    assert rows["30000"].endswith(" Reserving the KV pool       12")
    assert rows["65000"].startswith("…nnn")
    assert " ended " in rows["65000"]
    assert rows["3"].split()[:2] == ["soon", "-"]
    assert " starting " in rows["3"]
    assert "  http://127.0.0.1:30000  p: tiny:" in lines
    assert any(line.startswith("  http://127.0.0.1:65000  …") for line in lines)


def test_a_column_begins_where_its_heading_does() -> None:
    with registered(record_of(server=own_id())):
        head, row, _ = run("status").stdout.splitlines()
    assert row[head.index("PORT") :].startswith("30000 ")
    assert row[head.index("STATE") :].startswith("ready ")


def test_json_is_of_the_shipped_schema() -> None:
    record = dataclasses.replace(record_of(server=own_id()), ready_after=12.34, restarts=1)
    with registered(record):
        printed = run("status", "--format", "json").stdout
    (server,) = StatusJson.model_validate_json(printed).servers
    assert (server.pid, server.launcher_pid) == (os.getpid(), os.getpid())
    assert (server.name, server.profile, server.url) == ("mine", "p", "http://127.0.0.1:30000")
    assert (server.ready, server.state, server.restarts) == (True, "ready", 1)
    assert server.ready_after_seconds == 12.3
    assert datetime.fromisoformat(server.started).tzinfo is not None
    schema = json.loads((ROOT / "sgl_embed_kit" / "launch" / "status.schema.json").read_text())
    assert schema == StatusJson.model_json_schema(mode="serialization")
    assert set(schema["required"]) == set(json.loads(printed))
    assert set(schema["$defs"]["ServerJson"]["required"]) == set(json.loads(printed)["servers"][0])


@pytest.mark.parametrize("phase", ["Loading weights", "stopping", ""])
def test_a_server_that_starts_or_ends_is_not_ready(phase: str) -> None:
    with registered(record_of(server=own_id(), phase=phase)):
        told = StatusJson.model_validate_json(run("status", "--format", "json").stdout)
    assert not told.servers[0].ready


@pytest.mark.parametrize("name", ["mine", "p", "30000"])
def test_one_is_selected_by_its_name(name: str) -> None:
    with registered(record_of()), registered(record_of(name="other", profile="q", port=2)):
        done = run("status", "--name", name)
        assert done.returncode == 0
        assert "mine" in done.stdout
        assert "other" not in done.stdout
        none = run("status", "--name", "nobody", "--format", "json")
    assert none.returncode == 1
    assert none.stdout == ""
    assert "error: No server 'nobody' runs here.\n" in none.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "x", "--url", UNREACHABLE],
        ["--api-key-env", "X"],
        ["--plain-http"],
        ["--url", "nonsense"],
        ["extra"],
        ["--format", "junit"],
    ],
)
def test_wrong_use_ends_with_2(arguments: list[str]) -> None:
    done = run("status", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""


MODELS = b'{"data": [{"id": "theirs\\u001b[31m"}]}'


def answering(vector: bytes | None) -> Behaviour:
    def answer(connection: socket.socket, head: bytes) -> None:
        if head.startswith(b"GET /v1/models"):
            connection.sendall(response(MODELS))
        elif head.startswith(b"POST /v1/embeddings") and vector is not None:
            connection.sendall(response(vector))
        elif head.startswith(b"GET /server_info"):
            connection.sendall(response(b'{"version": "0.5.23"}'))
        else:
            connection.sendall(response(b"{}", status="503 Service Unavailable"))

    return answer


VECTOR = b'{"data": [{"embedding": [0.6, 0.8], "index": 0}], "usage": {"prompt_tokens": 3}}'


def test_a_server_of_somebody_else_is_asked_for_an_embedding() -> None:
    with hostile(answering(VECTOR)) as server:
        url = f"http://127.0.0.1:{server.port}"
        text = run("status", "--url", f"{url}/v1/")
        told = json.loads(run("status", "--url", url, "--format", "json").stdout)
    assert text.returncode == 0, text.stderr
    assert text.stdout.startswith(f"{url}: up and ready\n  model      theirs?[31m\n")
    assert "  embedding  2 dimensions in " in text.stdout
    assert text.stdout.endswith("  SGLang     0.5.23\n")
    asked = StatusJson.model_validate(told).asked
    assert asked is not None
    assert (asked.up, asked.ready, asked.dimension, asked.why_not) == (True, True, 2, "")
    assert told["servers"] == []


def test_a_server_that_does_not_embed_is_up_and_not_ready() -> None:
    with hostile(answering(None)) as server:
        url = f"http://127.0.0.1:{server.port}"
        done = run("status", "--url", url)
        told = json.loads(run("status", "--url", url, "--format", "json").stdout)["asked"]
    assert done.returncode == 1
    assert done.stdout.startswith(f"{url}: up, but not ready\n")
    assert "POST /v1/embeddings is answered with 503" in done.stderr
    assert f"cure: sgl-embed doctor --url {url}" in done.stderr
    assert (told["up"], told["ready"], told["milliseconds"]) == (True, False, None)
    assert "503" in told["why_not"]


def test_nobody_there_and_no_server_of_embeddings_are_not_up() -> None:
    gone = run("status", "--url", UNREACHABLE)
    with hostile(sends(response(b"<html>"))) as server:
        other = run("status", "--url", f"http://127.0.0.1:{server.port}")
    assert (gone.returncode, other.returncode) == (1, 1)
    assert gone.stdout == f"{UNREACHABLE}: not up\n"
    assert "Connection refused" in gone.stderr
    assert ": not up\n" in other.stdout
    assert "a web page" in " ".join(other.stderr.split())


def test_a_server_of_ours_that_is_asked_is_told_of_too() -> None:
    with hostile(answering(VECTOR)) as server, registered(record_of(port=server.port)):
        done = run("status", "--url", f"http://127.0.0.1:{server.port}")
    assert done.stdout.splitlines()[-2].startswith("mine ")


def test_a_key_is_taken_from_its_variable_and_never_shown() -> None:
    key = "k3y.of-the_users"
    with hostile(answering(VECTOR)) as server:
        done = run(
            "status", "--url", f"http://127.0.0.1:{server.port}", "--api-key-env", "MINE", MINE=key
        )
    assert done.returncode == 0
    assert any(f"Bearer {key}".encode() in head for head in server.heads)
    assert key not in done.stdout + done.stderr


def test_a_folder_that_was_open_to_others_is_closed_with_a_sentence(state: Path) -> None:
    (state / "servers").mkdir(parents=True)
    (state / "servers").chmod(0o755)
    done = run("status")
    assert done.returncode == 0
    assert done.stderr.startswith(f"note: {state / 'servers'} was open to others (mode 0755)")
    assert run("status").stderr == ""


def test_a_planted_folder_is_refused_with_a_sentence(state: Path, tmp_path: Path) -> None:
    state.mkdir()
    (state / "servers").symlink_to(tmp_path)
    for command in (["status"], ["stop", "x"], ["logs", "x"], ["launch", "tiny-cpu"]):
        done = run(*command)
        assert done.returncode == 1
        assert "is a symbolic link" in done.stderr
        assert "cure: mv " in done.stderr


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (86399, "23h59m"),
        (86400, "1d00h"),
        (1e7, "115d17h"),
    ],
)
def test_time_spans_are_short(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_what_is_too_long_keeps_its_end() -> None:
    assert (shortened("abc", 3), shortened("abcd", 3), shortened("abcd", 0)) == ("abc", "…cd", "…d")
