"""A small model without faults, and a copy of it that a test may break."""

import shutil
from pathlib import Path

import pytest

from tests.model.builders import small_model


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that stays as it is."""
    return small_model(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def model(healthy: Path, tmp_path: Path) -> Path:
    """A copy of the healthy model."""
    return shutil.copytree(healthy, tmp_path / "model")
