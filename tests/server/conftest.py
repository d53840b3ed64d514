"""A real server with everything that the guard and a right plan would have kept away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sgl_embed_kit.doctor import Subject
from sgl_embed_kit.launch.events import Ready, nobody
from sgl_embed_kit.launch.server import running_server
from sgl_embed_kit.machine import RealMachine
from sgl_embed_kit.model.tiny import TinyModel, make_tiny_model
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.sglang.installed import find_installed
from tests.conftest import free_port


@pytest.fixture(scope="session")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Subject, Ready]]:
    """A tiny model without the guard, whose KV pool is smaller than its context.

    The tests of the doctor end this server; its log stays.
    """
    folder = tmp_path_factory.mktemp("unguarded") / "m"
    make_tiny_model(folder, TinyModel(hidden_size=192, layers=3))
    content = {
        "model": {"path": str(folder)},
        "hardware": {"device": "cpu"},
        "server": {"port": free_port()},
        "limits": {"context_length": 2048, "max_total_tokens": 1030},
        "guard": {"enabled": False},
        "sglang": {"extra_args": {"page-size": 16}},
    }
    subject = Subject.of(Profile.model_validate(content), find_installed(), RealMachine())
    with running_server(subject) as server:
        yield subject, server.wait_until_ready(nobody)
