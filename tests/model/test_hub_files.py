"""A repository's facts without its weights: against a hub on this machine.

Each look is a process of its own, because huggingface_hub reads its variables when it is
imported, and keeps its cache in a folder of the test.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sgl_embed_kit.launch.quickstart import QWEN
from sgl_embed_kit.model.folder import local_files
from sgl_embed_kit.model.inspection import inspect_files
from sgl_embed_kit.profile import load_profile
from tests.conftest import run
from tests.fakehub import FakeHub
from tests.machines import UNREACHABLE

COMMIT = load_profile("06b-cpu").model.revision


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub(tmp_path / "hub") as serving:
        yield serving


def show(tmp_path: Path, url: str, *more: str, repo: str = QWEN, **env: str) -> Any:
    """Run `model show` with caches of the test's own, and return the finished process."""
    variables = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(tmp_path / "hf"),
        "SGL_EMBED_CACHE": str(tmp_path / "cache"),
        **env,
    }
    return run("model", "show", repo, "--format", "json", *more, **variables)


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_repository_says_the_same_as_its_folder(tmp_path: Path, hub: FakeHub) -> None:
    found = facts(show(tmp_path, hub.url))
    assert found["revision"] == COMMIT
    assert found["name"] == QWEN
    local = inspect_files(local_files(tmp_path / "hub"))
    assert found["fingerprint"] == local.fingerprint
    assert found["weights"]["bytes"] == local.facts.weight_bytes
    assert found["faults"] == []


def test_of_the_weights_only_a_little_is_fetched(tmp_path: Path, hub: FakeHub) -> None:
    facts(show(tmp_path, hub.url))
    size = (tmp_path / "hub" / "model.safetensors").stat().st_size
    assert size > 10_000_000
    assert 0 < hub.sent["model.safetensors"] < 200_000
    assert not list((tmp_path / "hf").rglob("*.safetensors"))


def test_a_second_look_fetches_nothing_again(tmp_path: Path, hub: FakeHub) -> None:
    first = facts(show(tmp_path, hub.url))
    sent = dict(hub.sent)
    assert facts(show(tmp_path, hub.url)) == first
    assert dict(hub.sent) == sent


def test_without_a_network_the_cache_serves(tmp_path: Path, hub: FakeHub) -> None:
    first = facts(show(tmp_path, hub.url))
    assert facts(show(tmp_path, UNREACHABLE)) == first
    assert facts(show(tmp_path, hub.url, HF_HUB_OFFLINE="1")) == first
    assert COMMIT is not None
    assert facts(show(tmp_path, UNREACHABLE, "--revision", COMMIT)) == first


def test_without_network_and_cache_it_says_how_to_name_a_mirror(tmp_path: Path) -> None:
    done = show(tmp_path, UNREACHABLE)
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"{QWEN} is neither in the cache nor in reach." in done.stderr
    assert "export HF_ENDPOINT=https://your-mirror" in done.stderr


def test_a_cache_that_was_cut_short_is_fetched_anew(tmp_path: Path, hub: FakeHub) -> None:
    first = facts(show(tmp_path, hub.url))
    for kept in (tmp_path / "cache" / "hub").rglob("*"):
        if kept.is_file():
            kept.write_bytes(kept.read_bytes()[:-1])
    assert facts(show(tmp_path, hub.url)) == first


def test_a_repository_that_does_not_exist_is_named(tmp_path: Path, hub: FakeHub) -> None:
    done = show(tmp_path, hub.url, repo="org/nothing")
    assert done.returncode == 1
    assert "org/nothing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mirror_that_gives_no_parts_of_files_still_gives_headers(
    tmp_path: Path, hub: FakeHub
) -> None:
    hub.gives_ranges = False
    found = facts(show(tmp_path, hub.url))
    assert found["weights"]["dtype"] == "bfloat16"
    assert found["fingerprint"] is None
    assert "gives no parts of files" in found["faults"][0]["why"]


def test_a_commit_that_is_none_names_no_folder(tmp_path: Path, hub: FakeHub) -> None:
    hub.commit = "../../outside"
    done = show(tmp_path, hub.url)
    assert done.returncode == 1
    assert "It calls it '../../outside'." in done.stderr
    assert not list(tmp_path.rglob("outside*"))
