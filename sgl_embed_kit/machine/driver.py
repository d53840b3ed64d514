"""Ask the NVIDIA driver, by NVML or else by nvidia-smi, and wait for it no longer than a while."""

from __future__ import annotations

from sgl_embed_kit.machine.nvidia import Nvidia, with_names
from sgl_embed_kit.machine.nvidia_smi import read_nvidia_smi
from sgl_embed_kit.machine.nvml import read_nvml
from sgl_embed_kit.time_limit import within

SECONDS = 20.0
"""A driver that was not in use has to set up its GPUs first, which can take seconds for each."""


def ask_driver() -> Nvidia:
    """Return what the driver says; that it says nothing, where it does not in time.

    NVML has no time limit of its own: with a driver that is stuck, its calls never return.
    """
    try:
        return within(SECONDS, _read, "nvidia-driver")
    except TimeoutError:
        return Nvidia(trouble=f"NVML: no answer within {SECONDS:g} s", is_silent=True)


def _read() -> Nvidia:
    found = read_nvml()
    if not found.source:
        other = read_nvidia_smi()
        found = other if other.source else found
    return with_names(found)
