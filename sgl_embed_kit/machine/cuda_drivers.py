"""Which driver a CUDA release needs: cuda_drivers.yaml."""

from __future__ import annotations

from functools import cache

from sgl_embed_kit.data_files import data_file


def least_driver(cuda: tuple[int, int]) -> str | None:
    """Return the oldest driver that runs programs of a CUDA release, or None: not known.

    Within a major release every driver runs every minor one (minor version compatibility).
    """
    return _table().get(cuda[0])


@cache
def _table() -> dict[int, str]:
    return {
        int(cuda): str(driver)
        for cuda, driver in data_file(__package__, "cuda_drivers.yaml").items()
    }
