"""Which driver a CUDA release needs: cuda_drivers.yaml."""

from __future__ import annotations

from functools import cache
from importlib import resources

import yaml


def least_driver(cuda: tuple[int, int]) -> str | None:
    """Return the oldest driver that runs programs of a CUDA release, or None: not known.

    Within a major release every driver runs every minor one (minor version compatibility).
    """
    return _table().get(cuda[0])


@cache
def _table() -> dict[int, str]:
    text = resources.files(__package__).joinpath("cuda_drivers.yaml").read_text(encoding="utf-8")
    return {int(cuda): str(driver) for cuda, driver in yaml.safe_load(text).items()}
