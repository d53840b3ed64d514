"""The checks of checks.yaml with the functions that look: a module a concern."""

from __future__ import annotations

from collections.abc import Callable

from sgl_embed_kit.doctor.catalogue import catalogue
from sgl_embed_kit.doctor.checks import engine, host, keys, memory, model, packages, ports
from sgl_embed_kit.doctor.engine import Check, Finding
from sgl_embed_kit.doctor.subject import Subject

_LOOKS: dict[str, Callable[[Subject], Finding]] = {
    "SGE-PY-001": packages.python,
    "SGE-PKG-001": packages.sglang,
    "SGE-ENG-001": engine.engine,
    "SGE-GRD-001": packages.guard,
    "SGE-NET-001": ports.port,
    "SGE-DISK-001": model.disk,
    "SGE-MEM-001": memory.memory,
    "SGE-CPU-001": host.processors,
    "SGE-SHM-001": host.shared_memory,
    "SGE-TMP-001": host.temporary_folder,
    "SGE-KEY-001": keys.keys,
    "SGE-MOD-001": model.model,
}

CHECKS = tuple(Check(about, _LOOKS[about.id]) for about in catalogue().values())
CHECKS_OF_FILES = tuple(check for check in CHECKS if check.id in {"SGE-MEM-001", "SGE-MOD-001"})
"""Checks that can say more once the model's files are here."""
