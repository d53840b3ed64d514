"""A real server with keys: nobody sees them, and nobody gets in without."""

from collections.abc import Iterator
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
    )
    with launched(profile, port, "locked", LOCK=KEY) as server:
        yield server


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
