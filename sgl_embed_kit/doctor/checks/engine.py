"""Checks of what does the sums: the GPUs that the profile is for, or the CPU's stand-in."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.machine import Gpu
from sgl_embed_kit.machine.gpus import least_memory
from sgl_embed_kit.plan.device import gpu_numbers, gpus_for
from sgl_embed_kit.plan.plan import gib
from sgl_embed_kit.profile import Profile
from sgl_embed_kit.profile.patch import patch


def engine(subject: Subject) -> Finding:
    """Look for the GPUs that the profile is for, or for what stands in on a CPU."""
    gpus = subject.machine.nvidia().visible(subject.environment).gpus
    on_gpu = subject.profile.hardware.device == "cuda"
    return _on_gpu(subject, gpus) if on_gpu else _on_cpu(subject, gpus)


def _on_gpu(subject: Subject, gpus: tuple[Gpu, ...]) -> Finding:
    if not gpus:
        return Finding(
            Status.ERROR,
            "no NVIDIA GPU, or no driver for it",
            "a GPU, as the profile says",
            "nvidia-smi  # says what the driver sees",
        )
    return (
        _too_few(subject.profile, gpus)
        or _expected_gpu(subject.profile.hardware.gpu, gpus_for(subject.profile, subject.machine))
        or Finding(Status.OK, _named(gpus))
    )


def _on_cpu(subject: Subject, gpus: tuple[Gpu, ...]) -> Finding:
    if subject.stand_in is None:
        return Finding(Status.OK, "CPU, with the installed sgl_kernel")
    if not gpus:
        return Finding(Status.OK, "CPU, with the toolkit's stand-in for sgl_kernel")
    reason = subject.installed.kernels if subject.installed else "SGLang is not here"
    return Finding(
        Status.ERROR,
        f"GPU {gpus[0].name}, but sgl_kernel cannot be loaded ({reason})",
        "a CPU run that the stand-in for sgl_kernel may serve",
        "export CUDA_VISIBLE_DEVICES=''",
    )


def _too_few(profile: Profile, gpus: tuple[Gpu, ...]) -> Finding | None:
    """Return an error where there are fewer GPUs than the profile takes, or counts up to."""
    if len(gpus) < profile.hardware.gpus:
        return Finding(
            Status.ERROR,
            _named(gpus),
            f"{profile.hardware.gpus} GPUs, as the profile says",
            patch(hardware={"gpus": len(gpus)}, parallel={"tensor": 1, "data": len(gpus)}),
        )
    numbers = gpu_numbers(profile)
    if len(gpus) <= numbers[-1]:
        return Finding(
            Status.ERROR,
            _named(gpus),
            f"{numbers[-1] + 1} GPUs: with base-gpu-id {numbers[0]} and gpu-id-step "
            f"{numbers.step} the server takes number {numbers[-1]}, counted from 0",
            patch(sglang={"extra_args": {"base-gpu-id": 0, "gpu-id-step": 1}}),
        )
    return None


def _expected_gpu(expected: str | None, gpus: tuple[Gpu, ...]) -> Finding | None:
    """Return a warning where a GPU is not the one that the profile's numbers are for.

    Its name tells, and its memory: the laptop's GPU of a name has less than the desktop's.
    """
    if not expected:
        return None
    found = _named(gpus)
    needed = f"{expected}, which the profile's numbers are for"
    cure = "sgl-embed profile list  # take the one for this GPU"
    if not all(expected.lower() in gpu.name.lower() for gpu in gpus):
        return Finding(Status.WARN, found, needed, cure)
    smallest = min((gpu.memory_total for gpu in gpus if gpu.memory_total), default=None)
    least = least_memory(expected)
    if smallest is None or least is None or smallest >= least:
        return None
    found, needed = f"{found} with {gib(smallest)}", f"{needed}, with {gib(least)} or more"
    return Finding(Status.WARN, found, needed, cure)


def _named(gpus: tuple[Gpu, ...]) -> str:
    return f"GPU: {', '.join(gpu.name for gpu in gpus)}"
