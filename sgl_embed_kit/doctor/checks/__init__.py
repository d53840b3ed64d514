"""The checks of checks.yaml with the functions that look: a module a concern."""

from __future__ import annotations

from collections.abc import Callable

from sgl_embed_kit.doctor.catalogue import LIVE, About, catalogue
from sgl_embed_kit.doctor.checks import (
    engine,
    gpu,
    gpu_memory,
    host,
    hub,
    keys,
    limits,
    memory,
    model,
    packages,
    ports,
    security,
    toolchain,
)
from sgl_embed_kit.doctor.engine import Check, Finding
from sgl_embed_kit.doctor.subject import Subject

_LOOKS: dict[str, Callable[[Subject], Finding]] = {
    "SGE-PY-001": packages.python,
    "SGE-PKG-001": packages.sglang,
    "SGE-PKG-002": packages.kernels,
    "SGE-PKG-003": packages.requirements,
    "SGE-PKG-004": packages.copies,
    "SGE-PKG-005": packages.bytecode,
    "SGE-PKG-006": packages.same_environment,
    "SGE-ENG-001": engine.engine,
    "SGE-GPU-001": gpu.driver,
    "SGE-GPU-002": gpu.visible,
    "SGE-GPU-003": gpu.compute,
    "SGE-GPU-004": gpu.context,
    "SGE-GPU-005": gpu.health,
    "SGE-GPU-006": gpu.reports,
    "SGE-GPU-007": gpu.clocks,
    "SGE-VRAM-001": gpu_memory.holders,
    "SGE-VRAM-002": gpu_memory.blocks,
    "SGE-GRD-001": packages.guard,
    "SGE-NET-001": ports.port,
    "SGE-NET-002": ports.further,
    "SGE-NET-003": ports.address,
    "SGE-NET-004": ports.port_range,
    "SGE-DISK-001": hub.disk,
    "SGE-MEM-001": memory.memory,
    "SGE-CPU-001": host.processors,
    "SGE-SHM-001": host.shared_memory,
    "SGE-TMP-001": host.temporary_folder,
    "SGE-KEY-001": keys.keys,
    "SGE-CGRP-001": host.container,
    "SGE-FILES-001": host.open_files,
    "SGE-CLOCK-001": host.clock,
    "SGE-JIT-001": toolchain.compilers,
    "SGE-JIT-002": toolchain.caches,
    "SGE-NUMA-001": toolchain.numa,
    "SGE-SEC-001": security.exposure,
    "SGE-SEC-002": security.maintenance_routes,
    "SGE-SEC-003": security.cross_origin,
    "SGE-SEC-004": security.keys_in_arguments,
    "SGE-SEC-005": security.key_files,
    "SGE-MOD-001": model.model,
    "SGE-MOD-002": model.path,
    "SGE-MOD-003": model.pooling,
    "SGE-MOD-004": model.tokenizer,
    "SGE-MOD-005": model.prompts,
    "SGE-MOD-006": model.code,
    "SGE-MOD-007": model.length,
    "SGE-HUB-001": hub.hub,
    "SGE-HUB-002": hub.token,
    "SGE-LIM-001": limits.longer_context,
    "SGE-LIM-002": limits.pool,
    "SGE-LIM-003": limits.chunk,
    "SGE-LIM-004": limits.queue,
    "SGE-LIM-005": limits.truncation,
    "SGE-LIM-006": limits.keep_alive,
    "SGE-LIM-007": limits.waiting,
}

DRIVER_SECONDS = 45.0
"""Time for a check that asks the NVIDIA driver, and waits for the probe of another check:
more than the limits of both (`SECONDS` of machine/driver.py and machine/cuda_probe.py)."""


def _check(about: About) -> Check[Subject]:
    if about.category == "hardware" or about.id in {"SGE-MEM-001", "SGE-LIM-002", "SGE-LIM-003"}:
        return Check(about, _LOOKS[about.id], DRIVER_SECONDS)
    return Check(about, _LOOKS[about.id])


CHECKS = tuple(_check(about) for about in catalogue().values() if about.category != LIVE)
_NEED_FILES = {f"SGE-MOD-00{number}" for number in range(3, 8)}
_LIMITS_OF_FILES = {"SGE-LIM-002", "SGE-LIM-003", "SGE-LIM-005"}
CHECKS_BEFORE_FILES = tuple(check for check in CHECKS if check.id not in _NEED_FILES)
"""Checks that can say something before the model's files are here."""
_OF_FILES = {"SGE-MEM-001", "SGE-MOD-001", "SGE-VRAM-001", *_LIMITS_OF_FILES, *_NEED_FILES}
CHECKS_OF_FILES = tuple(check for check in CHECKS if check.id in _OF_FILES)
"""Checks that can say more once the model's files are here."""
