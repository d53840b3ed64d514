"""A real server with keys: nobody sees them, and nobody gets in without."""

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from sgl_embed_kit import EmbeddingClient
from sgl_embed_kit.client import RefusedError
from sgl_embed_kit.launch.keys_file import PREFIX
from tests.conftest import Launched, free_port, launched, processes_with, run

pytestmark = pytest.mark.server

KEY = "k3y.of-the_users"
ADMIN_KEY = "k3y.of-the_admin"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """The tiny model behind a key from a variable and an admin key from a file."""
    folder, port = tmp_path_factory.mktemp("keys"), free_port()
    (folder / "admin").write_text(f"{ADMIN_KEY}\n")
    profile = folder / "locked.yaml"
    profile.write_text(
        "extends: tiny-cpu\n"
        "model: {served_name: locked}\n"
        f"server: {{port: {port}, api_key_env: LOCK, admin_api_key_file: {folder}/admin}}\n"
        "limits: {max_waiting_seconds: 77, context_length: 2048}\n"
        "launch: {probe_tokens: 300}\n"
    )
    options = ("--ready-file", str(folder / "ready.json"))
    with systemd(folder / "notify") as heard:
        environment = {"LOCK": KEY, "NOTIFY_SOCKET": str(folder / "notify")}
        with launched(profile, port, "locked", options=options, **environment) as server:
            ready = json.loads((folder / "ready.json").read_text())
            assert ready["url"] == server.url
            yield server
        assert not (folder / "ready.json").exists()
        told = heard()
    phases = [message for message in told if message.startswith("STATUS=")]
    assert phases[0] == "STATUS=Checks ..."
    assert "STATUS=Loading weights ..." in phases
    (main,) = (message for message in told if message.startswith("READY=1"))
    assert re.fullmatch(r"READY=1\nMAINPID=\d+", main)
    assert told.index(main) < told.index("STOPPING=1")


@contextmanager
def systemd(path: Path) -> Iterator[Callable[[], list[str]]]:
    """Be the service manager; yield what returns all that it was told."""
    messages: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))

        def listen() -> None:
            while message := manager.recv(4096):
                messages.append(message.decode())

        def heard() -> list[str]:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", str(path))
            listener.join()
            return messages

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        yield heard


def test_the_guard_answers_without_the_key_and_for_this_launch(locked: Launched) -> None:
    life = httpx.get(f"{locked.url}/livez", timeout=30).json()
    (main, *_) = [p for p in processes_with(locked.mark) if "serve" in p.cmdline()]
    assert life == {
        "status": "alive",
        "guard": metadata.version("sgl-embed-kit"),
        "launch_id": main.environ()["SGL_EMBED_LAUNCH_ID"],
    }
    assert "NOTIFY_SOCKET" not in main.environ()


def test_the_line_to_paste_names_the_key_and_a_long_text_was_tried(locked: Launched) -> None:
    assert '-H "Authorization: Bearer $LOCK"' in locked.printed
    assert re.search(r"texts of up to 2047; one of (29\d|300) was tried", locked.printed)
    assert KEY not in locked.printed
    command = locked.printed.partition("  ask        ")[2].partition("\n  stop")[0]
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("curl ", "curl -sf ")],
        env={"LOCK": KEY, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(json.loads(done.stdout)["data"][0]["embedding"]) == 128


def test_a_request_without_the_key_is_turned_away(locked: Launched) -> None:
    for path in ("/v1/embeddings", "/v1/models", "/server_info"):
        assert httpx.get(f"{locked.url}{path}", timeout=30).status_code == 401
    with EmbeddingClient(locked.url, model="locked") as client, pytest.raises(RefusedError):
        client.embed_documents(["a"])


def test_a_request_with_the_key_is_answered(locked: Launched) -> None:
    with EmbeddingClient(locked.url, api_key=KEY) as client:
        assert client.model == "locked"
        assert client.embed_documents(["a"]).shape == (1, 128)


def test_maintenance_needs_the_other_key(locked: Launched) -> None:
    def flush(key: str) -> int:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.post(f"{locked.url}/flush_cache", headers=headers, timeout=30).status_code

    assert flush(KEY) == 401
    assert flush(ADMIN_KEY) == 200


def test_no_process_of_the_server_shows_a_key(locked: Launched) -> None:
    # The launcher is asked too: it was given one key in its environment by us.
    server = [p for p in processes_with(locked.mark) if "sgl_embed_kit.cli.main" not in p.cmdline()]
    assert len(server) >= 3  # HTTP server, scheduler, detokenizer
    for process in server:
        shown = " ".join([*process.cmdline(), *process.environ().values()])
        assert KEY not in shown
        assert ADMIN_KEY not in shown


def test_the_file_with_the_keys_is_gone_once_the_server_has_read_it(locked: Launched) -> None:
    assert locked.url
    files = Path("/dev/shm").glob(f"{PREFIX}*/keys.yaml")  # of other servers, perhaps
    assert not any(KEY in file.read_text() for file in files)


def test_the_server_runs_under_the_limits_of_the_profile(locked: Launched) -> None:
    (main, *_) = [p for p in processes_with(locked.mark) if "serve" in p.cmdline()]
    assert main.environ()["SGLANG_REQ_WAITING_TIMEOUT"] == "77"
    headers = {"Authorization": f"Bearer {KEY}"}
    (model,) = httpx.get(f"{locked.url}/v1/models", headers=headers, timeout=30).json()["data"]
    assert model["max_model_len"] == 2048


def test_the_doctor_finds_both_doors_closed_and_shows_no_key(locked: Launched) -> None:
    doors = "live-auth,live-maintenance,live-guard,canary"
    ask = ("doctor", str(locked.profile), "--url", locked.url, "--only", doors)
    done = run(*ask, LOCK=KEY)
    assert done.returncode == 0
    assert "\n4 checks in " in done.stdout
    assert done.stdout.endswith(": 4 ok\n")
    wrong = run(*ask, LOCK="another.key")
    assert wrong.returncode == 1
    assert "the server refuses the key (401)" in wrong.stdout
    for shown in (done, wrong):
        assert KEY not in shown.stdout + shown.stderr
        assert "another.key" not in shown.stdout + shown.stderr
