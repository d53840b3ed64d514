"""GPUs that are known without one at hand, so that a profile can be checked anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from sgl_embed_kit.data_files import data_file

BFLOAT16_FROM = (8, 0)
"""SGLang loads a model as float16 on anything older, whatever `--dtype` says
(maybe_downgrade_dtype_for_legacy_gpu, srt/model_executor/model_runner_components)."""


@dataclass(frozen=True)
class KnownGpu:
    """An NVIDIA GPU.

    Attributes:
        names: What NVML calls it; more than one where it comes in several forms.
        memory_mib: Its memory in MiB, as nvidia-smi and NVML report it.
        compute_capability: Major and minor number.
    """

    names: tuple[str, ...]
    memory_mib: int
    compute_capability: tuple[int, int]

    @property
    def memory(self) -> int:
        """Its memory in bytes."""
        return self.memory_mib * 2**20

    @property
    def has_bfloat16(self) -> bool:
        """Whether SGLang serves a bfloat16 model on it as such."""
        return self.compute_capability >= BFLOAT16_FROM


def known_gpus_named(part: str) -> dict[str, KnownGpu]:
    """Return the known GPUs that a profile with this `hardware.gpu` may meet.

    The comparison is doctor's: the text is a part of the device's name, in any case. So
    `A10` also stands for A10G and A100.
    """
    return {
        key: gpu
        for key, gpu in known_gpus().items()
        if any(part.lower() in name.lower() for name in gpu.names)
    }


def least_memory(part: str) -> int | None:
    """Return the bytes that a GPU of this `hardware.gpu` has at least, or None.

    That is the smallest known one's memory, less a tenth: older drivers report less of it,
    and error correction takes a sixteenth where it is switched on.
    """
    found = [gpu.memory for gpu in known_gpus_named(part).values()]
    return min(found) * 9 // 10 if found else None


@cache
def known_gpus() -> dict[str, KnownGpu]:
    """Return the known GPUs by their short names; the file says where the facts are from."""
    return {
        key: KnownGpu(
            tuple(facts["names"]), facts["memory_mib"], tuple(facts["compute_capability"])
        )
        for key, facts in data_file(__package__, "gpus.yaml").items()
    }
