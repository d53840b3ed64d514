"""`sgl-embed launch` from its checks to its end, with a stand-in for SGLang."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from sgl_embed_kit.cli import launch
from sgl_embed_kit.cli.launch import ready_lines
from sgl_embed_kit.doctor.engine import Check, Finding, Status
from sgl_embed_kit.doctor.report import COLUMNS
from sgl_embed_kit.doctor.selection import about_of
from sgl_embed_kit.launch.events import Ready
from sgl_embed_kit.profile.schema import KeySource
from tests.cli.test_launch import without_id
from tests.conftest import processes_with, run
from tests.launch.misbehaving import GUARD, content_of, installed_as, stand_in

LIMIT = 30.0
Write = Callable[..., str]


def fake_checks(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let these be all that the checks find, which are two."""
    checks: list[Check[Any]] = [
        Check(about_of(name), partial(_told, finding))
        for name, finding in zip(("port", "disk"), findings, strict=False)
    ]
    for group in ("CHECKS", "CHECKS_BEFORE_FILES", "CHECKS_OF_FILES"):
        monkeypatch.setattr(launch, group, checks)


def _told(finding: Finding, _subject: object) -> Finding:
    return finding


@pytest.fixture
def write(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write the profile of a stand-in, which is the installed SGLang, and which is well."""
    program = stand_in(tmp_path)
    monkeypatch.setattr(launch, "find_installed", lambda: installed_as(program))
    monkeypatch.setattr(launch, "keep_table", lambda _: None)
    monkeypatch.setenv("SGL_EMBED_STATE", str(tmp_path / "state"))
    fake_checks(monkeypatch, Finding(Status.OK, "fine"))

    def write(will: dict[str, Any] | None = None, **sections: Any) -> str:
        path = tmp_path / "profile.yaml"
        path.write_text(yaml.safe_dump(content_of(tiny_folder, will or {}, **sections)))
        return str(path)

    yield write
    assert processes_with(f"stand-in-{os.getpid()}") == []


def once(condition: Callable[[], Any], then: Callable[[], None]) -> threading.Thread:
    """Do something, and interrupt, as soon as a condition holds."""

    def wait() -> None:
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline and not condition():
            time.sleep(0.02)
        try:
            then()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_served_profile_from_its_checks_to_its_end(write: Write, tmp_path: Path) -> None:
    path, seen = tmp_path / "ready.json", {}
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)

    def look() -> None:
        seen["content"] = json.loads(path.read_text())

    watcher = once(path.exists, look)
    arguments = ("--ready-file", str(path), "--ready-fd", str(writing))
    done = run("launch", write(launch={"probe_tokens": 100}), *arguments)
    watcher.join()
    assert done.returncode == 0, done.stderr
    assert not path.exists()
    assert os.read(reading, 9) == b"\n"
    os.close(reading)
    shown = re.sub(r"\s+", " ", done.stdout)
    assert re.match(
        r"Ready after \d+\.\d s: http://127\.0\.0\.1:\d+ model tiny dimension 128 ", shown
    )
    assert "tokens texts of up to 399; one of 100 was tried; the KV pool holds 512" in shown
    assert re.search(r" vectors [0-9a-f]{16} ", shown)
    assert f" guard {GUARD} " in shown
    assert "time importing SGLang " in shown
    assert seen["content"]["url"] in shown
    assert "Ctrl-C, or sgl-embed stop tiny" in shown


def test_a_server_that_is_not_ready_in_time_ends_with_4(write: Write) -> None:
    done = run("launch", write({"busy": 10**6, "child": True}), "--timeout", "1.5")
    assert done.returncode == 4
    told = " ".join(done.stderr.split())
    assert "The server was not ready within 1.5 s (launch.timeout_seconds)." in told
    assert "It says 503: warming up" in told


def test_by_itself_the_limit_follows_from_the_weights(write: Write) -> None:
    done = run("launch", write({"refuses": 400}, launch={"timeout_seconds": "auto"}))
    assert done.returncode == 1
    assert "refuses to embed" in done.stderr


@pytest.mark.parametrize("status", [Status.ERROR, Status.CRASH])
def test_an_error_of_a_check_stops_it_before_anything_starts(
    write: Write, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    fake_checks(monkeypatch, Finding(status, "a", "b", "cure it"))
    started: list[object] = []
    monkeypatch.setattr("sgl_embed_kit.launch.server.ServerProcess", started.append)
    done = run("launch", write())
    assert done.returncode == 1
    assert "cure it" in done.stderr
    assert (started, done.stdout) == ([], "")


def test_a_warning_takes_a_line_and_stops_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_checks(monkeypatch, Finding(Status.WARN, "many words " * 9, "need", "cure"))
    done = run("launch", write({"refuses": 400}))
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("  warn")]
    assert len(line) <= COLUMNS
    port = about_of("port").id
    assert line.endswith(f" {port}")
    assert "need" not in done.stderr
    assert f"sgl-embed explain {port}" in done.stderr
    assert "refuses to embed" in done.stderr


@pytest.mark.parametrize("arguments", [("--skip-preflight",), ("--ignore", "port,SGE-DISK-001")])
def test_checks_can_be_skipped_or_ignored(
    write: Write, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    wrong = Finding(Status.ERROR, "a", "b", "cure it")
    fake_checks(monkeypatch, Finding(Status.OK, "fine"), wrong)
    done = run("launch", write({"refuses": 400}), *arguments)
    assert "refuses to embed" in done.stderr  # it came as far as that
    assert ("The checks are skipped." in done.stderr) is (arguments[0] == "--skip-preflight")


def test_a_check_that_does_not_exist_is_not_ignored(write: Write) -> None:
    done = run("launch", write(), "--ignore", "prot")
    assert done.returncode == 2
    assert "There is no check 'prot'" in done.stderr


def test_without_sglang_and_without_checks_that_is_said(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "find_installed", lambda: None)
    done = run("launch", write(), "--skip-preflight")
    assert done.returncode == 1
    assert "SGLang is not installed here." in done.stderr
    assert "pip install 'sgl-embed-kit[server]'" in without_id(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--ready-fd", "987"), "There is no file descriptor 987"),
        (("--ready-fd", "1"), "1 is not in the range x>=3"),
        (("--ready-file", "/no/such/folder/ready"), "cannot be written"),
        (("--timeout", "0"), "0.0 is not in the range x>0"),
    ],
)
def test_wrong_use_is_told_before_any_check(
    write: Write, arguments: tuple[str, ...], said: str
) -> None:
    done = run("launch", write(), *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


READY = Ready(
    url="http://127.0.0.1:30000",
    model="it's-a-model",
    dimension=1024,
    seconds=12.345,
    phases=(("Importing SGLang", 10.0), ("Reserving the KV pool", 2.345)),
    pid=4711,
    log=Path("/var/log/m.log"),
)


def test_what_is_not_known_is_not_shown() -> None:
    assert ready_lines(READY).splitlines() == [
        "Ready after 12.3 s: http://127.0.0.1:30000",
        "  model      it's-a-model",
        "  dimension  1024",
        "  time       importing SGLang 10.0 s, reserving the KV pool 2.3 s",
        "  log        /var/log/m.log",
        "  ask        curl http://127.0.0.1:30000/v1/embeddings \\",
        "               -H 'Content-Type: application/json' \\",
        """               -d '{"model": "it'"'"'s-a-model", "input": "Apples are a fruit"}'""",
        "  stop       Ctrl-C, or sgl-embed stop it's-a-model",
    ]


def test_vectors_of_another_length_are_said_to_be() -> None:
    assert "1024, of length 3.000: not normalised" in ready_lines(
        Ready(**{**vars(READY), "norm": 3.0})
    )


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (KeySource(env="LOCK"), "Authorization: Bearer k3y"),
        (KeySource(file="/a folder/key"), "Authorization: Bearer filed"),
    ],
)
def test_the_line_to_paste_takes_the_key_from_where_it_is(
    key: KeySource, header: str, tmp_path: Path
) -> None:
    shown = ready_lines(READY, key).partition("  ask        ")[2].partition("\n  stop")[0]
    assert "k3y" not in shown
    programs = {"curl": 'printf "%s\\n" "$@"', "cat": "echo filed"}
    for name, code in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": str(tmp_path), "LOCK": "k3y"}
    done = subprocess.run(
        ["/bin/sh", "-c", shown], env=env, capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()
    assert words[0] == "http://127.0.0.1:30000/v1/embeddings"
    assert header in words
    assert json.loads(words[-1]) == {"model": "it's-a-model", "input": "Apples are a fruit"}
