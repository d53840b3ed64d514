"""What the docs take from the program."""

from collections.abc import Callable
from types import ModuleType

import pytest

from sgl_embed_kit.profile import Profile
from tests.conftest import ROOT


@pytest.fixture
def write_docs(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("write_docs")


def test_the_committed_files_are_the_programs_own(write_docs: ModuleType) -> None:
    for path, content in write_docs.pages().items():
        committed = (ROOT / path).read_text(encoding="utf-8")
        assert committed == content, "run: make docs"


def test_the_table_has_every_key_with_its_default(write_docs: ModuleType) -> None:
    table = write_docs.key_table()
    for name, field in Profile.model_fields.items():
        for key in getattr(field.annotation, "model_fields", {}):
            assert f"| `{name}.{key}` |" in table
    assert "| `server.port` | `30000` |" in table
    assert "| `model.path` | needed |" in table
    assert "| `env` |" in table
