"""Checks of a GPU's memory: who holds it, and whether what is free can be had in one piece."""

from __future__ import annotations

from dataclasses import replace

from sgl_embed_kit.doctor.checks.gpu import nothing_to_look_at, of_each, probed, severest
from sgl_embed_kit.doctor.engine import Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.machine import Gpu, GpuProcess
from sgl_embed_kit.machine.cuda_probe import Probed
from sgl_embed_kit.plan.device import device_of, gpus_for
from sgl_embed_kit.plan.memory import driver_bytes
from sgl_embed_kit.plan.plan import Plan, gib, make_plan
from sgl_embed_kit.profile.patch import patch
from sgl_embed_kit.sglang.command import ALLOCATOR_VARIABLES

UNSEEN = 512 * 2**20
"""What a driver may keep beyond what it says: less than this held by nobody is no riddle."""
SHOWN = 4
FRAGMENTED = 0.1
"""A tenth of what is free: as much as SGLang leaves alone at its largest default fraction
(0.903 on an H200)."""
EXPANDABLE = "expandable_segments:True"


def holders(subject: Subject) -> Finding:
    """Look at what is free, at what the plan needs, and at who holds the rest."""
    return of_each(subject, _held)


def _held(subject: Subject, gpu: Gpu) -> Finding:
    if gpu.memory_total is None or gpu.memory_free is None:
        return Finding(Status.SKIP, f"{gpu.name}: the driver does not tell its memory")
    demand, device = subject.demand(), device_of(gpu)
    now = make_plan(demand, device) if demand else None
    alone = make_plan(demand, replace(device, free=None)) if demand else None
    found = f"{gib(gpu.memory_free)} of {gib(gpu.memory_total)} are free"
    if alone:
        found += f"; {gib(alone.weights + alone.pool + alone.working)} for the server"
    unseen = unseen_memory(gpu)
    told = [_told(one) for one in _largest_first(gpu)[:SHOWN]]
    if unseen >= UNSEEN:
        told.append(f"{gib(unseen)} are held by nobody who can be seen from here")
    if told:
        found += f". {'; '.join(told)}"
    if now and alone and _is_harmed(now, alone):
        needed = f"{gib(gpu.memory_total)} as good as empty, or a smaller plan"
        return Finding(Status.WARN, found, needed, _fix(gpu, unseen))
    return Finding(Status.INFO if unseen >= UNSEEN else Status.OK, found)


def unseen_memory(gpu: Gpu) -> int:
    """Return the bytes in use that are neither a process's that can be seen nor the driver's.

    They are another container's, or those of a process that is just ending. None are told
    where a process keeps its share secret.
    """
    shares = [process.memory for process in gpu.processes or ()]
    if gpu.memory_total is None or gpu.memory_free is None or None in shares:
        return 0
    reserved = gpu.memory_reserved
    known = sum(share or 0 for share in shares)
    kept = driver_bytes(gpu.memory_total) if reserved is None else reserved
    return max(gpu.memory_total - gpu.memory_free - kept - known, 0)


def _is_harmed(now: Plan, alone: Plan) -> bool:
    """Whether a plan that holds on an empty GPU does not with what others hold of it."""
    return (alone.fits and not now.fits) or (now.is_tight and not alone.is_tight)


def _largest_first(gpu: Gpu) -> list[GpuProcess]:
    return sorted(gpu.processes or (), key=lambda one: -(one.memory or 0))


def _told(process: GpuProcess) -> str:
    who = ", ".join(name for name in (process.user, process.command) if name)
    share = "memory" if process.memory is None else gib(process.memory)
    return f"pid {process.pid} ({who or 'not of this container'}) holds {share}"


def _fix(gpu: Gpu, unseen: int) -> str:
    largest = next(iter(_largest_first(gpu)), None)
    if largest is None or (largest.memory or 0) < unseen:
        return "nvidia-smi  # on the machine itself: a container sees only its own programs"
    return f"kill {largest.pid}  # if it is yours"


def blocks(subject: Subject) -> Finding:
    """Measure the largest block that can really be allocated against what is free."""
    if (nothing := nothing_to_look_at(subject)) is not None:
        return nothing
    gpus = gpus_for(subject.profile, subject.machine)
    return severest(
        _measured(subject, gpu, one) for gpu, one in zip(gpus, probed(subject), strict=True)
    )


def _measured(subject: Subject, gpu: Gpu, one: Probed) -> Finding:
    if one.error:
        return Finding(Status.SKIP, f"GPU {one.ordinal} gives no context: {one.error}")
    if not one.asked:
        return Finding(Status.SKIP, f"GPU {one.ordinal}: {gib(one.free)} are free, too little")
    found = (
        f"GPU {one.ordinal}: one block of {gib(one.largest)} can be had of {gib(one.asked)}: "
        f"fragmentation 1 - {one.largest / one.asked:.2f} = {one.fragmentation:.2f}"
    )
    if gpu.memory_free is not None and gpu.memory_free > one.free:
        found += f". A CUDA context takes {gib(gpu.memory_free - one.free)}"
    if one.asked - one.largest <= FRAGMENTED * one.asked:
        return Finding(Status.OK, found)
    return Finding(Status.WARN, found, f"{FRAGMENTED:g} or less", _cure(subject, one))


def _cure(subject: Subject, one: Probed) -> str:
    """Return the cure: segments that need no whole block, else a server that asks for less.

    Launch sets the former by itself on a single GPU, unless the profile or the environment
    says something else (`sglang.command`).
    """
    profile = subject.profile
    env = subject.environment
    given = [env[name] for name in ALLOCATOR_VARIABLES if name in env]
    if profile.parallel.tensor == 1 and given and not any(EXPANDABLE in text for text in given):
        return patch(env={"PYTORCH_ALLOC_CONF": EXPANDABLE})
    fraction = profile.limits.mem_fraction_static
    if fraction is None:
        return patch(limits={"chunked_prefill_size": 2048})
    lower = int(fraction * (1 - one.fragmentation) * 100) / 100
    return patch(limits={"mem_fraction_static": lower})
