"""Which device a plan is for: a GPU that is named, or here, or that the profile expects."""

from __future__ import annotations

import re

from sgl_embed_kit.errors import UsageError
from sgl_embed_kit.machine import Gpu, Machine
from sgl_embed_kit.machine.gpus import BFLOAT16_FROM, KnownGpu, known_gpus, known_gpus_named
from sgl_embed_kit.plan.plan import Device
from sgl_embed_kit.profile import Profile

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(GiB|GB|MiB|MB)", re.IGNORECASE)
UNITS = {"gib": 2**30, "gb": 10**9, "mib": 2**20, "mb": 10**6}
SMALLEST_CARD = 2**30


def device_for(profile: Profile, machine: Machine, named: str | None) -> Device:
    """Return the device to plan for.

    Args:
        profile: What is to be served; on the CPU where it says so and no GPU is named.
        machine: Asked for what it has where no GPU is named.
        named: A known GPU by a part of its name, or the size of its memory.

    Raises:
        UsageError: a GPU is needed, and none is named, here or expected by the profile.
    """
    if named is not None:
        return named_gpu(named)
    if profile.hardware.device == "cpu":
        return cpu(machine)
    here = gpu_here(profile, machine)
    if here is not None:
        return here
    expected = profile.hardware.gpu
    if expected is None or not known_gpus_named(expected):
        raise UsageError(
            "It is not known which GPU to plan for.",
            why="There is none here, and the profile names none that is known.",
            cure="sgl-embed plan PROFILE --gpu A10, or --gpu 24GiB",
        )
    return _known(*smallest(known_gpus_named(expected)))


def named_gpu(text: str) -> Device:
    """Return the known GPU of a name, the smallest of a part of names, or one of a size.

    Raises:
        UsageError: it is neither.
    """
    size = SIZE.fullmatch(text.strip())
    if size:
        memory = int(float(size[1]) * UNITS[size[2].lower()])
        if memory >= SMALLEST_CARD:
            return Device(f"{text.strip()} GPU", memory, origin="as you say")
    exact = {key: gpu for key, gpu in known_gpus().items() if key.lower() == text.lower()}
    found = exact or (known_gpus_named(text) if text else {})
    if not found:
        raise UsageError(
            f"There is no known GPU {text!r}.",
            why=f"Known are {', '.join(known_gpus())}.",
            cure="sgl-embed plan PROFILE --gpu 24GiB",
        )
    return _known(*smallest(found))


def smallest(gpus: dict[str, KnownGpu]) -> tuple[str, KnownGpu]:
    """Return the one with the least memory, by its short name."""
    return min(gpus.items(), key=lambda item: item[1].memory)


def gpu_here(profile: Profile, machine: Machine) -> Device | None:
    """Return this machine's GPU that the server would use, or None.

    Of several, the one with the least free: SGLang sizes all pools alike, by the smallest
    (get_available_gpu_memory with distributed, srt/utils/common.py).
    """
    gpus = [gpu for gpu in gpus_for(profile, machine) if gpu.memory_total is not None]
    if not gpus:
        return None
    return device_of(min(gpus, key=lambda one: one.memory_free or 0))


def device_of(gpu: Gpu) -> Device:
    """Return a GPU of this machine, whose memory is known, as what a plan is for."""
    assert gpu.memory_total is not None
    known = [k for k in known_gpus().values() if gpu.name in k.names]
    capability = gpu.compute_capability or (known[0].compute_capability if known else None)
    return Device(
        gpu.name,
        gpu.memory_total,
        gpu.memory_free,
        has_bfloat16=capability is None or capability >= BFLOAT16_FROM,
        origin="as its driver reports it",
    )


def gpus_for(profile: Profile, machine: Machine) -> tuple[Gpu, ...]:
    """Return this machine's GPUs that the server would use, as many of them as there are."""
    visible = machine.nvidia().visible({**machine.environment(), **profile.env}).gpus
    return tuple(visible[n] for n in gpu_numbers(profile) if 0 <= n < len(visible))


def gpu_numbers(profile: Profile) -> range:
    """Return the numbers of the GPUs that the server would use, of those that CUDA shows it.

    They begin at `--base-gpu-id`, `--gpu-id-step` apart (srt/entrypoints/engine.py, and
    srt/managers/data_parallel_controller.py for several copies).
    """
    extra = profile.sglang.extra_args
    first, step = int(extra.get("base-gpu-id", 0)), max(int(extra.get("gpu-id-step", 1)), 1)
    count = profile.parallel.tensor * profile.parallel.data
    return range(first, first + count * step, step)


def cpu(machine: Machine) -> Device:
    """Return this machine's CPU with its RAM."""
    return Device(
        "the CPU",
        machine.memory_total(),
        machine.memory_available(),
        is_cpu=True,
        origin="of this machine",
    )


def _known(name: str, gpu: KnownGpu) -> Device:
    return Device(name, gpu.memory, has_bfloat16=gpu.has_bfloat16, origin="as drivers report it")
