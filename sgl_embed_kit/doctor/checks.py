"""What the checks of checks.yaml do: a function each, which looks at a subject."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from sgl_embed_kit.doctor import host
from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.engine import Check, Finding, Status
from sgl_embed_kit.doctor.subject import Subject
from sgl_embed_kit.errors import KitError
from sgl_embed_kit.folders import cache_folder
from sgl_embed_kit.machine import Gpu, PortUse
from sgl_embed_kit.machine.gpus import least_memory
from sgl_embed_kit.model.facts import ModelFacts
from sgl_embed_kit.model.source import Kind
from sgl_embed_kit.plan.device import cpu, gpu_here
from sgl_embed_kit.plan.memory import THREE_PROCESSES
from sgl_embed_kit.plan.plan import Plan, gib, make_plan
from sgl_embed_kit.profile.keys import read_keys
from sgl_embed_kit.sglang.flag_history import known_releases, table_of
from sgl_embed_kit.sglang.installed import TESTED_FROM, tested_range
from sgl_embed_kit.sglang.versions import VersionRange, release_of

PLATFORM = "linux x86_64"
OLDEST_PYTHON = (3, 11)
LOG_SPACE = 100_000_000


def gigabytes(size: int) -> str:
    """Show a size for people: "1.2 GB"."""
    return f"{size / 1e9:.1f} GB"


def _python(subject: Subject) -> Finding:
    version = subject.machine.python()
    found = f"Python {'.'.join(map(str, version))} on {subject.machine.platform()}"
    if version < OLDEST_PYTHON:
        return Finding(Status.ERROR, found, "Python 3.11 or newer", "python3.12 -m venv .venv")
    if subject.machine.platform() != PLATFORM:
        return Finding(
            Status.ERROR,
            found,
            "Linux on x86-64, which is all that SGLang's wheels serve",
            "run the server on a Linux machine; the client works here",
        )
    return Finding(Status.OK, found)


def _sglang(subject: Subject) -> Finding:
    installed, tested = subject.installed, f"SGLang {tested_range()}"
    install = "pip install 'sgl-embed-kit[server]'"
    if installed is None:
        return Finding(Status.ERROR, "SGLang is not installed", tested, install)
    found = f"SGLang {installed.version}"
    if installed.command is None:
        return Finding(Status.ERROR, f"{found} without its command", "`sglang`", install)
    if release_of(installed.version) < TESTED_FROM:
        return Finding(Status.ERROR, found, tested, install)
    wanted = subject.profile.sglang.version
    if wanted is not None and installed.version not in VersionRange(wanted):
        return Finding(Status.ERROR, found, f"SGLang {wanted}, as the profile says", install)
    if not installed.is_tested:
        return Finding(Status.WARN, f"{found}, newer than tested: {_compared(subject)}", tested)
    return Finding(Status.OK, found)


def _compared(subject: Subject) -> str:
    """Say how the installed SGLang's flags differ from the newest known ones."""
    newest = table_of(known_releases()[-1])
    assert newest is not None
    before, now = newest.by_name, subject.table.by_name
    changed = [
        name
        for name in before.keys() & now.keys()
        if (before[name].type, before[name].choices) != (now[name].type, now[name].choices)
    ]
    return (
        f"against {newest.version}, {len(now.keys() - before.keys())} flags gained, "
        f"{len(before.keys() - now.keys())} lost, {len(changed)} changed"
    )


def _engine(subject: Subject) -> Finding:
    gpus, hardware = subject.machine.gpus(), subject.profile.hardware
    if hardware.device == "cuda":
        if not gpus:
            return Finding(
                Status.ERROR,
                "no NVIDIA GPU, or no driver for it",
                "a GPU, as the profile says",
                "set hardware.device: cpu in the profile, or run nvidia-smi to see why",
            )
        names = ", ".join(gpu.name for gpu in gpus)
        if len(gpus) < hardware.gpus:
            return Finding(
                Status.ERROR,
                f"GPU: {names}",
                f"{hardware.gpus} GPUs, as the profile says",
                "lower hardware.gpus and parallel in the profile",
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
    return Finding(Status.WARN, found, needed, "take the profile for this GPU")


def _guard(subject: Subject) -> Finding:
    if not subject.profile.guard.enabled:
        return Finding(
            Status.WARN,
            "the guard is switched off",
            "the guard, or one chat request ends the server",
            "set guard.enabled: true in the profile",
        )
    if subject.installed is None:
        return Finding(Status.SKIP, "SGLang is not installed")
    if not subject.installed.sees_guard:
        return Finding(
            Status.ERROR,
            "SGLang's plugin framework does not find the guard",
            "the entry point sgl_embed_guard in SGLang's environment",
            "pip install --force-reinstall --no-deps sgl-embed-kit",
        )
    return Finding(Status.OK, "SGLang will load the guard")


def _port(subject: Subject) -> Finding:
    host, port = subject.profile.server.host, subject.profile.server.port
    use = subject.machine.port_use(host, port)
    if use is None:
        return Finding(Status.OK, f"{host}:{port} is free")
    free = next(
        (
            other
            for other in range(port + 1, min(port + 100, 65536))
            if subject.machine.port_use(host, other) is None
        ),
        None,
    )
    return Finding(
        Status.ERROR,
        f"{host}:{port} cannot be used: {_holder(use)}",
        "a port that the server can listen on",
        f"quickstart --port {free}, or server.port: {free} in the profile"
        if free
        else "set server.port in the profile",
    )


def _holder(use: PortUse) -> str:
    if use.pid is None:
        return use.reason
    return f"{use.command} (pid {use.pid}) listens there"


def _disk(subject: Subject) -> Finding:
    for folder, needed in (
        (cache_folder(), subject.source.bytes_needed + LOG_SPACE),
        (Path(tempfile.gettempdir()), subject.source.bytes_needed + LOG_SPACE),
    ):
        free = subject.machine.disk_free(folder)
        if free < needed:
            return Finding(
                Status.ERROR,
                f"{gigabytes(free)} free for {folder}",
                gigabytes(needed),
                f"df -h {folder}",
            )
    return Finding(Status.OK, f"{gigabytes(subject.machine.disk_free(cache_folder()))} free")


def _memory(subject: Subject) -> Finding:
    available = subject.machine.memory_available()
    on_gpu = subject.profile.hardware.device == "cuda"
    demand = subject.demand()
    device = gpu_here(subject.profile, subject.machine) if on_gpu else cpu(subject.machine)
    plan = make_plan(demand, device) if demand and device else None
    needed, what = THREE_PROCESSES, "SGLang itself" if on_gpu else "SGLang alone"
    if plan and not on_gpu:
        needed, what = plan.needed, "SGLang, weights and KV pool"
    found = f"{gigabytes(available)} available; {gigabytes(needed)} for {what}"
    if available < needed:
        return Finding(
            Status.ERROR,
            found,
            gigabytes(needed),
            "lower limits.max_total_tokens, or end another program (ps aux --sort=-rss | head)",
        )
    return (_misfit(plan) if plan else None) or Finding(Status.OK, found)


def _misfit(plan: Plan) -> Finding | None:
    """Return what speaks against a plan, or None where it fits."""
    needed = f"a server that fits {plan.device.name} with {gib(plan.device.memory)}"
    if plan.faults:
        return Finding(Status.ERROR, str(plan.faults[0]), needed, plan.cure)
    if plan.is_tight:
        return Finding(Status.WARN, plan.warnings[0], needed, plan.cure)
    return None


def _model(subject: Subject) -> Finding:
    source = subject.source
    if source.kind is Kind.REPO and not subject.has_files:
        return Finding(Status.OK, f"{source.model_path}, from the hub")
    if not subject.has_files:
        return Finding(Status.OK, f"{subject.profile.model.path} will be made in the cache")
    try:
        folder = subject.model_folder()
    except KitError as error:
        found = f"{error.what.rstrip('.')}: {error.why}" if error.why else error.what
        return Finding(Status.ERROR, found, "a folder that SGLang can serve", error.cure)
    assert folder is not None
    wrong = _wrong_pooling(subject, folder)
    if wrong is not None:
        return wrong
    architecture = folder.architectures[0] if folder.architectures else "unknown architecture"
    pooling = f", {folder.pooling} pooling" if folder.pooling else ""
    return Finding(
        Status.OK, f"{architecture}, {gigabytes(folder.weight_bytes)} of weights{pooling}"
    )


def _wrong_pooling(subject: Subject, folder: ModelFacts) -> Finding | None:
    """Return an error where only the guard, which is off, would pool as declared."""
    served = folder.served.pooling if folder.served else None
    if subject.profile.guard.enabled or None in (folder.pooling, served):
        return None
    if folder.pooling is served:
        return None
    return Finding(
        Status.ERROR,
        f"the model declares {folder.pooling} pooling, SGLang would pool by {served}",
        f"{folder.pooling} pooling, or the vectors are wrong",
        "set guard.enabled: true in the profile",
    )


def _keys(subject: Subject) -> Finding:
    server = subject.profile.server
    if not server.keys:
        return Finding(Status.OK, "the profile asks for no key")
    try:
        read_keys(server.keys, os.environ)
    except KitError as error:
        what = error.what.rstrip(".")
        return Finding(Status.ERROR, f"{what}: {error.why}", "the key of the profile", error.cure)
    return Finding(Status.OK, f"{' and '.join(server.keys)} can be read")


_LOOKS: dict[str, Callable[[Subject], Finding]] = {
    "SGE-PY-001": _python,
    "SGE-PKG-001": _sglang,
    "SGE-ENG-001": _engine,
    "SGE-GRD-001": _guard,
    "SGE-NET-001": _port,
    "SGE-DISK-001": _disk,
    "SGE-MEM-001": _memory,
    "SGE-CPU-001": host.processors,
    "SGE-SHM-001": host.shared_memory,
    "SGE-TMP-001": host.temporary_folder,
    "SGE-KEY-001": _keys,
    "SGE-MOD-001": _model,
}

CHECKS = tuple(Check(about, _LOOKS[about.id]) for about in catalogue().values())
CHECKS_OF_FILES = tuple(check for check in CHECKS if check.id in {"SGE-MEM-001", "SGE-MOD-001"})
"""Checks that can say more once the model's files are here."""
