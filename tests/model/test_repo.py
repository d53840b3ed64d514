"""Bringing a repository of the hub: to where the server will look for it."""

from pathlib import Path

import pytest

from sgl_embed_kit.errors import KitError
from sgl_embed_kit.launch.quickstart import QWEN
from sgl_embed_kit.model.hub_cache import cached_folder
from sgl_embed_kit.model.repo import fetch_repo
from tests.fakehub import FakeHub


def test_it_comes_from_where_and_to_where_the_servers_variables_say(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    with FakeHub(tmp_path / "hub") as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "kept")}
        folder = fetch_repo(QWEN, hub.commit, env)
        assert folder is not None
        assert tmp_path / "kept" / "hub" in folder.parents
        assert (folder / "model.safetensors").is_file()
        assert cached_folder(QWEN, hub.commit, env) == folder
        assert cached_folder(QWEN, hub.commit, {**env, "HF_HOME": str(tmp_path)}) is None
        sent = hub.sent.total()
        assert fetch_repo(QWEN, hub.commit, {**env, "HF_HUB_OFFLINE": "1"}) == folder
        assert hub.sent.total() == sent


def test_what_may_not_be_fetched_and_is_not_here_is_told(tmp_path: Path) -> None:
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    with pytest.raises(KitError, match="could not be downloaded"):
        fetch_repo(QWEN, None, env)


def test_modelscope_is_left_to_sglang() -> None:
    assert fetch_repo(QWEN, None, {"SGLANG_USE_MODELSCOPE": "1"}) is None
