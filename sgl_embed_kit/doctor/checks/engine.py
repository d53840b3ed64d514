"""Checks of what does the sums: the GPUs that the profile is for, or the CPU's stand-in."""

from __future__ import annotations

from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.machine import Gpu
from sgl_embed_kit.machine.gpus import least_memory
from sgl_embed_kit.plan.plan import gib
from sgl_embed_kit.profile.patch import patch


def engine(subject: Subject) -> Finding:
    """Look for the GPUs that the profile is for, or for what stands in on a CPU."""
    gpus, hardware = subject.machine.gpus(), subject.profile.hardware
    if hardware.device == "cuda":
        if not gpus:
            return Finding(
                Status.ERROR,
                "no NVIDIA GPU, or no driver for it",
                "a GPU, as the profile says",
                "nvidia-smi  # says what the driver sees",
            )
        names = ", ".join(gpu.name for gpu in gpus)
        if len(gpus) < hardware.gpus:
            return Finding(
                Status.ERROR,
                f"GPU: {names}",
                f"{hardware.gpus} GPUs, as the profile says",
                patch(hardware={"gpus": len(gpus)}, parallel={"tensor": 1, "data": len(gpus)}),
            )
        return _expected_gpu(hardware.gpu, gpus) or Finding(Status.OK, f"GPU: {names}")
    if subject.stand_in is None:
        return Finding(Status.OK, "CPU, with the installed sgl_kernel")
    reason = subject.installed.kernels if subject.installed else "SGLang is not here"
    if gpus:
        return Finding(
            Status.ERROR,
            f"GPU {gpus[0].name}, but sgl_kernel cannot be loaded ({reason})",
            "a CPU run that the stand-in for sgl_kernel may serve",
            "export CUDA_VISIBLE_DEVICES=''",
        )
    return Finding(Status.OK, "CPU, with the toolkit's stand-in for sgl_kernel")


def _expected_gpu(expected: str | None, gpus: tuple[Gpu, ...]) -> Finding | None:
    """Return a warning where no GPU is the one that the profile's numbers are for.

    Its name tells, and its memory: the laptop's GPU of a name has less than the desktop's.
    """
    if not expected:
        return None
    found = f"GPU: {', '.join(gpu.name for gpu in gpus)}"
    needed = f"{expected}, which the profile's numbers are for"
    named = [gpu.memory_total for gpu in gpus if expected.lower() in gpu.name.lower()]
    least = least_memory(expected)
    if named and (least is None or max(named) >= least):
        return None
    if named and least is not None:
        found, needed = f"{found} with {gib(max(named))}", f"{needed}, with {gib(least)} or more"
    return Finding(
        Status.WARN, found, needed, "sgl-embed profile list  # take the one for this GPU"
    )
